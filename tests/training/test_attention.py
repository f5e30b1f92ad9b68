"""Packed rows: every sample attends as if it stood alone."""

import pytest
import torch
from torch.nn import functional as F

from e2llm.training import attention
from e2llm.training.attention import reads_packed
from e2llm.training.collator import Collator
from e2llm.training.tasks import TASKS
from tests.training.objectives import gradients, move_lora, run


@pytest.mark.parametrize(
    ("decoder", "task"),
    [("llama", task) for task in TASKS]
    + [
        (family, "dialogue")
        for family in ("gpt2", "phi", "qwen3", "mistral", "gemma3", "gpt-neox", "olmo2")
    ],
)
def test_packed_samples_give_the_loss_and_the_gradients_of_padded_ones(
    make_objective, batch_of, decoder, task, monkeypatch
):
    monkeypatch.setattr(attention, "BLOCK", 16)  # so that these rows have several
    made = make_objective(decoder=decoder, stage={"max_answer_tokens": 200})
    move_lora(made.objective)
    batch = batch_of(made, task)
    assert reads_packed(made.objective.base.decoder)
    loss, padded = run(made, batch), gradients(made, batch)
    made.collator = Collator(made.processor, packs=True)
    inputs = made.collator([batch])
    if "input_ids" in inputs:
        assert inputs["input_ids"].shape == (1, sum(sample.n_positions for sample in batch.samples))
    packed = run(made, batch)
    assert packed["n_items"] == loss["n_items"]
    torch.testing.assert_close(packed["loss"], loss["loss"], atol=1e-5, rtol=1e-5)
    for name, gradient in gradients(made, batch).items():
        torch.testing.assert_close(gradient, padded[name], msg=name, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("n", [1, 128, 300])
def test_blocks_attend_as_the_librarys_kernel_does(dtype, tolerance, n):
    rng = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(1, heads, n, 16, generator=rng).to(dtype).requires_grad_()
        for heads in (6, 2, 2)
    )
    own = attention._attend_by_blocks(query, key, value, scaling=0.3)
    wanted = F.scaled_dot_product_attention(
        *(states.float() for states in (query, key, value)),
        is_causal=True,
        scale=0.3,
        enable_gqa=True,
    )
    torch.testing.assert_close(own.transpose(1, 2).float(), wanted, atol=tolerance, rtol=tolerance)
    weights = torch.randn(wanted.shape, generator=rng)
    gradients = [
        torch.autograd.grad((output * weights).sum(), (query, key, value))
        for output in (own.transpose(1, 2).float(), wanted)
    ]
    for got, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(
            got.float(), expected.float(), atol=5 * tolerance, rtol=5 * tolerance
        )


def test_long_rows_are_packed_as_short_ones_are(make_objective, batch_of, monkeypatch):
    made = make_objective()
    batch = batch_of(made, "expanding")
    made.collator = Collator(made.processor, packs=True)
    short = gradients(made, batch)
    monkeypatch.setattr(attention, "MOST_SCORES", -1)  # all by the library's kernel
    for name, gradient in gradients(made, batch).items():
        torch.testing.assert_close(gradient, short[name], msg=name, atol=1e-5, rtol=1e-3)
