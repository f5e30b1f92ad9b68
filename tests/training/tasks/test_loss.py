"""The loss of a batch: logits where there are labels, and the likelihood of the answers."""

import pytest
import torch
from torch.nn import functional as F

from e2llm.training.mixture import Batch
from e2llm.training.objective import _Reader
from e2llm.training.tasks import TASKS
from e2llm.training.tasks.loss import NegativeLogLikelihood, answer_logits
from tests.training.objectives import gradients, move_lora, run


@pytest.mark.parametrize("decoder", ["llama", "gemma2", "gpt2", "phi", "qwen3"])
def test_the_head_gives_the_logits_of_a_full_pass_where_there_are_labels_and_no_others(
    make_objective, batch_of, decoder
):
    made = make_objective(decoder=decoder)
    if decoder == "gemma2":
        assert made.objective.base.decoder.config.final_logit_softcapping
    made.objective.eval()
    inputs = made.collator([batch_of(made, "reasoning")])
    reader = _Reader(made.objective)
    with torch.no_grad():
        kept = answer_logits(reader, inputs)
        full = reader(
            **{
                name: inputs[name]
                for name in (
                    "input_ids",
                    "chunk_input_ids",
                    "chunk_attention_mask",
                    "chunk_soft_ids",
                )
            }
        ).logits
    places = inputs["labels"][:, 1:] != -100
    torch.testing.assert_close(kept, full[:, :-1][places], atol=1e-5, rtol=1e-5)
    assert len(kept) == sum(
        len(sample.answer_ids) for sample in batch_of(made, "reasoning").samples
    )


@pytest.mark.parametrize("decoder", ["llama", "gemma2", "gpt2"])
def test_the_loss_is_the_cross_entropy_of_the_answers_in_value_and_gradient(
    make_objective, batch_of, decoder
):
    made = make_objective(decoder=decoder)
    batch = batch_of(made, "understanding")
    own = gradients(made, batch)
    inputs = made.collator([batch])
    made.objective.zero_grad()
    logits = _Reader(made.objective)(
        **{
            name: inputs[name]
            for name in ("input_ids", "chunk_input_ids", "chunk_attention_mask", "chunk_soft_ids")
        }
    ).logits
    loss = F.cross_entropy(
        logits[:, :-1].flatten(0, 1), inputs["labels"][:, 1:].flatten(), ignore_index=-100
    )
    loss.backward()
    torch.testing.assert_close(run(made, batch)["loss"], loss)
    for name, parameter in made.objective.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(own[name], parameter.grad, msg=name, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("n", [0, 1, 64, 150])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_negative_log_likelihood_equals_torchs_cross_entropy(n, dtype):
    torch.manual_seed(0)
    logits, labels = (torch.randn(n, 37) * 3).to(dtype), torch.randint(37, (n,))
    own, theirs = (logits.clone().requires_grad_() for _ in range(2))
    mine = NegativeLogLikelihood.apply(own, labels)
    wanted = F.cross_entropy(theirs.float(), labels, reduction="sum")
    torch.testing.assert_close(mine, wanted)
    (mine * 0.7).backward()
    (wanted * 0.7).backward()
    torch.testing.assert_close(own.grad, theirs.grad)


@pytest.mark.parametrize("task", TASKS)
def test_the_loss_of_a_batch_is_the_sum_over_its_samples_alone(make_objective, batch_of, task):
    made = make_objective()
    move_lora(made.objective)
    batch = batch_of(made, task)
    assert len({sample.n_positions for sample in batch.samples}) > 1
    with torch.no_grad():
        whole = run(made, batch)
        parts = [run(made, Batch(task, 2, [sample])) for sample in batch.samples]
    torch.testing.assert_close(
        whole["total"], sum(part["total"] for part in parts), atol=1e-3, rtol=1e-4
    )
    assert whole["n_items"] == sum(part["n_items"] for part in parts)


def test_the_mean_is_over_answer_tokens_and_the_sum_over_samples_is_the_papers(
    make_objective, batch_of
):
    losses = {}
    for form in ("mean", "sum"):
        made = make_objective(loss=form, stage={"tasks": {"reasoning": {"weight": 0.5}}})
        with torch.no_grad():
            losses[form] = run(made, batch_of(made, "reasoning"))
    torch.testing.assert_close(
        losses["mean"]["loss"], 0.5 * losses["mean"]["total"] / losses["mean"]["n_items"]
    )
    torch.testing.assert_close(losses["sum"]["loss"], 0.5 * losses["mean"]["total"] / 3)
