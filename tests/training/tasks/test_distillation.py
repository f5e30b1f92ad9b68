"""Distillation: the teacher is who it should be, and the reader follows it."""

import pytest
import torch

from e2llm.training.mixture import Batch
from e2llm.training.objective import _Reader
from e2llm.training.tasks import Sample
from e2llm.training.tasks.loss import answer_logits
from tests.training.objectives import move_lora, run


@pytest.mark.parametrize("task", ["distillation", "continuation-distillation"])
def test_the_divergence_is_zero_where_the_reader_reads_what_the_teacher_reads_and_positive_elsewhere(  # noqa: E501
    make_objective, batch_of, task
):
    made = make_objective()
    batch = batch_of(made, task)
    with torch.no_grad():
        assert run(made, batch)["loss"] > 0
        same = Batch(
            task,
            2,
            [
                Sample(s.name, [], [], s.teacher_ids, s.answer_ids, teacher_ids=s.teacher_ids)
                for s in batch.samples
            ],
        )
        assert abs(run(made, same)["loss"]) < 1e-6
        move_lora(made.objective)
        assert run(made, same)["loss"] > 1e-4


def test_a_decoder_that_teaches_itself_does_so_with_its_lora_and_only_the_reader_learns(
    make_objective, batch_of
):
    made = make_objective()
    batch = batch_of(made, "self-distillation")
    same = Batch(
        batch.task,
        2,
        [
            Sample(s.name, [], [], s.teacher_ids, s.answer_ids, teacher_ids=s.teacher_ids)
            for s in batch.samples
        ],
    )
    move_lora(made.objective)
    assert abs(run(made, same)["loss"]) < 1e-6, "the teacher has the LoRA that the reader has"
    assert run(made, batch)["loss"] > 1e-4
    inputs = made.collator([batch])
    run(made, batch, training=True)["loss"].backward()
    gradients = [
        parameter.grad.clone()
        for parameter in made.objective.parameters()
        if parameter.grad is not None
    ]
    made.objective.zero_grad()
    reader = _Reader(made.objective)
    with torch.no_grad():
        taught = answer_logits(reader, inputs, "teacher_").softmax(-1)
    read = answer_logits(reader, inputs).log_softmax(-1)
    torch.nn.functional.kl_div(read, taught, reduction="sum").div(len(read)).backward()
    again = [
        parameter.grad for parameter in made.objective.parameters() if parameter.grad is not None
    ]
    torch.testing.assert_close(again, gradients, atol=1e-5, rtol=1e-3)


def test_the_teacher_is_the_untouched_decoder_and_learns_nothing(make_objective, batch_of):
    made = make_objective()
    inputs = made.collator([batch_of(made, "distillation")])
    reader = _Reader(made.objective)
    made.objective.eval()

    def teach():
        with torch.no_grad(), reader.reading_text():
            return answer_logits(reader, inputs, "teacher_")

    before = teach()
    move_lora(made.objective)
    torch.testing.assert_close(teach(), before)
    assert not torch.allclose(answer_logits(reader, inputs), before)
