"""LongLoRA's shifted sparse attention against a dense mask by hand."""

import pytest
import torch
from torch.nn import functional as F

from e2llm.errors import UserError
from e2llm.methods import make_method
from e2llm.methods.attention.longlora import shifted_attention
from tests.tiny import TEXT

QUESTION = "Who approved the budget?"


def dense_mask(n: int, heads: int, group: int) -> torch.Tensor:
    """Return which keys are seen, (1, heads, n, n): those before a token, in its group.

    The groups of the second half of the heads begin half a group later.
    """
    mask = torch.zeros(1, heads, n, n, dtype=torch.bool)
    for head in range(heads):
        shift = 0 if head < heads // 2 else group - group // 2
        for query in range(n):
            for key in range(query + 1):
                mask[0, head, query, key] = (query + shift) // group == (key + shift) // group
    return mask


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 2), (9, 3), (1, 1)])
@pytest.mark.parametrize(("n", "group"), [(24, 8), (29, 8), (3, 8), (5, 8), (20, 7), (1, 4)])
def test_it_equals_a_dense_mask_by_hand_with_its_gradients(heads, kv_heads, n, group):
    torch.manual_seed(0)
    query, key, value = (
        torch.randn(2, count, n, 8, requires_grad=True) for count in (heads, kv_heads, kv_heads)
    )
    weights = torch.randn(2, heads, n, 8)
    wanted = F.scaled_dot_product_attention(
        query,
        *(states.repeat_interleave(heads // kv_heads, 1) for states in (key, value)),
        attn_mask=dense_mask(n, heads, group),
        scale=0.3,
    )
    got = shifted_attention(query, key, value, group, 0.3)
    assert torch.allclose(got, wanted, atol=1e-5)
    gradients = [
        torch.autograd.grad((out * weights).sum(), (query, key, value)) for out in (got, wanted)
    ]
    for own, by_hand in zip(*gradients, strict=True):
        assert torch.allclose(own, by_hand, atol=1e-5)


@pytest.mark.parametrize("decoder", ["llama", "qwen3", "gpt-neox"])
def test_a_whole_decoder_trains_with_it_and_reads_with_full_attention(make_pair, decoder):
    pair = make_pair(decoder=decoder)
    method = make_method("longlora:factor=1:group_share=0.1", pair)
    assert method.group == 51
    ids = torch.arange(3, 140)[None]
    heads = pair.model.decoder.config.num_attention_heads
    with torch.no_grad():
        sparse, full = (
            pair.model.decoder(input_ids=ids, attention_mask=mask).logits
            for mask in (dense_mask(137, heads, 51), None)
        )
        module = method.module
        assert torch.allclose(module(input_ids=ids).logits, full, atol=1e-5)
        assert torch.allclose(
            module.train()(input_ids=ids, use_cache=False).logits, sparse, atol=1e-5
        )
    assert not torch.allclose(sparse, full, atol=1e-5)


def test_no_token_sees_a_later_one():
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 4, 20, 8, requires_grad=True) for _ in range(3))
    shifted_attention(query, key, value, 8)[:, :, :11].sum().backward()
    assert not value.grad[:, :, 11:].any()
    assert value.grad[:, :, :11].all()


def test_embeddings_and_norms_are_trained_beside_lora(trained_pair):
    names = list(make_method("longlora", trained_pair).trained())
    assert [name for name in names if "lora_" not in name and "norm" not in name] == [
        "model.embed_tokens.weight"
    ]
    assert sum("norm" in name for name in names) == 5
    assert all("lora_" in name for name in make_method("continual", trained_pair).trained())


def test_in_training_the_groups_matter(trained_pair):
    narrow, wide = (
        make_method(f"longlora:factor=1:group_share={share}", trained_pair) for share in (0.05, 1.0)
    )
    before = [method.nats(TEXT, QUESTION, "The mayor.") for method in (narrow, wide)]
    assert torch.equal(*before)
    for method in (narrow, wide):
        method.module.train()
    assert not torch.allclose(
        *(method.nats(TEXT, QUESTION, "The mayor.") for method in (narrow, wide)), atol=1e-6
    )


@pytest.mark.parametrize("share", [0, 1.5, 0.001])
def test_a_group_must_hold_something(trained_pair, share):
    with pytest.raises(UserError, match="group_share"):
        make_method(f"longlora:factor=1:group_share={share}", trained_pair)
