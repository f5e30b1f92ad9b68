"""Distillation: the decoder that reads text teaches the one that does not.

The loss is the KL divergence on the answers.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from e2llm.training.data.records import Record
from e2llm.training.tasks.base import Draw, Others, Sample, Task
from e2llm.training.tasks.continuation import Continuation
from e2llm.training.tasks.loss import Loss, answer_logits
from e2llm.training.tasks.reasoning import Reasoning


class Distillation(Task):
    """Follow the teacher on the answers to questions.

    The teacher is the same decoder, untouched by LoRA, which reads the document's text. Where the
    decoder is trained in full, its present self is the teacher.
    """

    name: ClassVar[str] = "distillation"
    kind: ClassVar[str] = "question"
    source: Task = Reasoning(taught=True)

    def make(self, record: Record, draw: Draw, others: Others) -> Sample | None:
        """Return a sample with the teacher's prompt; None where that is too long to read."""
        sample = self.source.make(record, draw, others)
        if sample is None or len(sample.teacher_ids or []) > draw.max_positions:
            return None
        return sample

    def loss(self, model: Any, inputs: dict[str, Tensor]) -> Loss:
        """Return the nats of KL divergence from teacher to reader, summed over answer tokens."""
        with torch.no_grad(), self.teacher(model):
            logits = answer_logits(model, inputs, "teacher_")  # (n_labels, vocab)
            taught = F.log_softmax(logits.float(), -1)
        read = F.log_softmax(answer_logits(model, inputs).float(), -1)  # (n_labels, vocab)
        divergence = F.kl_div(read, taught, log_target=True, reduction="sum")  # ()
        return Loss(divergence, torch.tensor(len(read), device=read.device))

    def teacher(self, model: Any) -> AbstractContextManager[None]:
        """Make the model its own teacher for a while."""
        return model.reading_text()


class SelfDistillation(Distillation):
    """Follow the decoder as it is at that moment, LoRA and all, on the answers to questions.

    It is for a pair to go on from whose decoder answers from text better than the untouched one.
    """

    name: ClassVar[str] = "self-distillation"

    def teacher(self, model: Any) -> AbstractContextManager[None]:
        """Leave the model as it is."""
        return nullcontext()


class ContinuationDistillation(Distillation):
    """Follow the teacher on the continuation of texts."""

    name: ClassVar[str] = "continuation-distillation"
    kind: ClassVar[str] = "text"
    source: Task = Continuation(taught=True)
