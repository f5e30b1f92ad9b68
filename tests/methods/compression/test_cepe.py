"""CEPE: the cross-attention by hand, and the bare decoder where there is none."""

import math

import pytest
import torch

from e2llm.errors import UserError, WindowError
from e2llm.evaluation.costs import Machine
from e2llm.methods import make_method
from e2llm.methods.decoders.cross_attention import CrossAttention
from e2llm.model.versions import checkpoint_activations
from tests.evaluation.test_costs import counted
from tests.methods.fitting.training import (
    ANSWER,
    DECODERS,
    LONG,
    QUESTION,
    bare_score,
    check_edges,
    check_saved,
    check_training,
    disturb,
    scored,
)
from tests.methods.sharp import sharpen
from tests.tiny import TEXT

SPEC = "cepe:text_tokens=40:chunk_chars=120"


@pytest.mark.parametrize("decoder", DECODERS)
def test_as_it_begins_it_is_the_bare_decoder_with_the_documents_end(make_pair, decoder):
    pair = make_pair(decoder=decoder)
    method = make_method(SPEC, pair)
    tail = method.read(LONG).kept.tail[0].text
    assert LONG.endswith(tail)
    assert len(pair.processor.text_ids(tail)) == 40
    floor = make_method("no-document", pair)
    floor.text_prompt = lambda _, question, n: method.prompt(method.look(LONG), question, n)  # type: ignore[method-assign]
    assert scored(method) == pytest.approx(
        floor.score(floor.read(""), QUESTION, ANSWER).tolist(), abs=1e-5
    )


def test_a_document_that_stands_as_text_is_read_as_the_bare_decoder_reads_it(make_pair):
    pair = make_pair()
    method = make_method("cepe", pair)
    disturb(method)
    assert len(method.look(TEXT[:300]).states) == 0
    assert scored(method, TEXT[:300]) == pytest.approx(bare_score(pair, TEXT[:300]), abs=1e-5)


def test_the_cross_attention_equals_one_by_hand(pair):
    cross = CrossAttention(pair.model.decoder, 32)
    torch.nn.init.normal_(cross.o_proj.weight)
    torch.nn.init.normal_(cross.norm.weight)
    hidden, states = torch.randn(1, 5, 32), torch.randn(7, 32)
    normed = (
        hidden[0]
        / (hidden[0].pow(2).mean(-1, keepdim=True) + pair.model.decoder.config.rms_norm_eps).sqrt()
        * cross.norm.weight
    )
    heads = []
    for head in range(4):  # of 8 dimensions; two share their keys and values
        query = normed @ cross.q_proj.weight[8 * head : 8 * head + 8].T
        rows = slice(8 * (head // 2), 8 * (head // 2) + 8)
        key, value = states @ cross.k_proj.weight[rows].T, states @ cross.v_proj.weight[rows].T
        heads.append((query @ key.T / math.sqrt(8)).softmax(-1) @ value)
    expected = torch.cat(heads, -1) @ cross.o_proj.weight.T
    assert torch.allclose(cross(hidden, *cross.keys_values(states))[0], expected, atol=1e-4)


def test_it_stands_after_the_self_attention_and_before_the_feed_forward_network(make_pair):
    method = make_method(SPEC, make_pair())
    disturb(method)
    wrapped = method.decoder.model.layers[0]
    layer, cross, states = wrapped.layer, wrapped.cross, method.look(LONG).states
    seen = {}
    hook = layer.register_forward_hook(lambda *_: pytest.fail("the layer's own order runs"))
    mlp = layer.mlp.register_forward_pre_hook(lambda module, given: seen.update(mlp=given[0]))
    attention = layer.self_attn.register_forward_hook(
        lambda module, given, output: seen.update(attention=output[0])
    )
    hidden = method.decoder.get_input_embeddings()(torch.arange(5, 12)[None])
    with torch.no_grad(), method.model.attending(states):
        method.decoder(inputs_embeds=hidden)
        after = hidden + seen["attention"]
        expected = after + cross(after, *cross.keys_values(states))
        assert torch.allclose(seen["mlp"], layer.post_attention_layernorm(expected), atol=1e-5)
    for each in (hook, mlp, attention):
        each.remove()


def test_the_states_are_the_encoders_own_of_every_chunk_in_order(make_pair):
    pair = make_pair()
    method = make_method(SPEC, pair)
    head = LONG[: len(LONG) - len(method.look(LONG).tail[0].text)]
    rows = pair.processor.encoder_rows(head, method.chunker(head))
    expected = [
        pair.model.encode(
            torch.tensor([row.input_ids]), torch.ones(1, len(row.input_ids), dtype=torch.long)
        )[0, 1:-1]
        for row in rows
    ]
    assert len(rows) > 5
    assert torch.allclose(method.look(LONG).states, torch.cat(expected), atol=1e-5)


def test_what_is_read_before_decides_the_answer_once_it_is_trained(make_pair):
    pair = make_pair()
    method = make_method(SPEC, pair)
    other = ("Nothing of it is known. " * 100)[: len(LONG) - 200] + LONG[-200:]
    assert scored(method) == pytest.approx(scored(method, other), abs=1e-5)
    disturb(method)
    assert scored(method) != pytest.approx(scored(method, other), abs=1e-4)


def test_an_answer_is_what_the_likeliest_tokens_one_by_one_are(make_pair):
    pair = sharpen(make_pair())
    method = make_method(SPEC, pair)
    disturb(method)
    reading, ids = method.read(LONG), []
    for _ in range(5):
        with torch.no_grad():
            ids.append(int(method.logits(reading.kept, QUESTION, [*ids, 0])[-1].argmax()))
    for _ in range(2):  # the second time from the cache
        # Half a character at the cut is left out.
        written = pair.processor.tokenizer.decode(ids, skip_special_tokens=True)
        assert method.answer(reading, QUESTION, 5).text == written.rstrip("\ufffd").strip()


def test_training_reaches_encoder_and_cross_attention_and_nothing_else(make_pair):
    method = make_method(SPEC, make_pair())
    assert all(name.startswith("encoder.") or ".cross." in name for name in method.trained())
    check_training(method)


def test_training_with_layers_computed_again_has_the_same_gradients(make_pair):
    method = make_method(SPEC, make_pair())
    disturb(method)
    gradients = []
    for again in (False, True):
        if again:
            checkpoint_activations(method.decoder)
            method.decoder.train()
        nats = method._answer_nats(method.look(LONG), QUESTION, ANSWER)
        gradients.append(
            torch.autograd.grad(nats[:3].sum(), list(method.trained().values()), allow_unused=True)
        )
    assert all(
        torch.allclose(one, two, atol=1e-5)
        for one, two in zip(*gradients, strict=True)
        if one is not None
    )


def test_a_texts_end_is_learned_beside_what_stands_before_it(make_pair):
    method = make_method(SPEC, make_pair())
    assert method.text_nats(TEXT).shape == (39,)
    assert method.text_nats("One.").numel()
    method.text_nats(TEXT).sum().backward()
    assert method.trained()["decoder.model.layers.0.cross.o_proj.weight"].grad.any()


def test_an_answer_costs_as_much_as_the_library_counts(make_pair):
    method = make_method(SPEC, make_pair())
    reading = method.read(LONG)
    ids = method.prompt(reading.kept, QUESTION, 1).ids

    def run() -> None:
        with method.model.attending(reading.kept.states):
            method.decoder(input_ids=torch.tensor([ids]), logits_to_keep=1)

    assert method.answer(reading, QUESTION, 1).flops == counted(run)
    assert reading.flops > 0


def test_edges_saving_and_refusals(make_pair, tmp_path):
    pair = make_pair()
    check_edges(SPEC, pair)
    assert scored(make_method(SPEC, pair), "") == pytest.approx(bare_score(pair), abs=1e-5)
    check_saved(make_method(SPEC, pair), SPEC, pair, tmp_path)
    method = make_method(SPEC, pair)
    assert Machine(free_bytes=10**9).refusal(method, 10**6, 4) is None
    assert "memory" in Machine(free_bytes=10**7).refusal(method, 10**6, 4)
    assert "window" in Machine().refusal(method, 10, 512)
    with pytest.raises(WindowError, match="window"):
        method.prompt(method.keep(LONG), "What? " * 200, 4)


@pytest.mark.parametrize("decoder", ["gpt2", "gpt-neox", "phi", "gemma2", "olmo2"])
def test_other_layers_are_refused(make_pair, decoder):
    with pytest.raises(UserError, match="use a pair with a Llama"):
        make_method("cepe", make_pair(decoder=decoder))
