"""Pad a batch of samples into tensors.

Rows are padded at their end and have no attention mask: under causal attention no position that counts sees the padding, and attention kernels
skip half of their work where the mask is the plain causal one.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from e2llm.model.processing import E2LLMProcessor
from e2llm.training.mixture import Batch
from e2llm.training.tasks.base import Sample, stack_targets


@dataclass(frozen=True)
class Collator:
    """Turn a `Batch` into the inputs of `Objective`.

    Shape:
        input_ids, labels (batch, seq), labels -100 where no loss is taken; teacher_input_ids, teacher_labels likewise; chunk_input_ids,
        chunk_attention_mask, chunk_soft_ids (batch, n_chunks, chunk_len); targets (n_soft, longest), padded with -1.
    """

    processor: E2LLMProcessor

    def __call__(self, batches: list[Batch]) -> dict[str, Any]:
        """Return the tensors of the one batch that the loader asks for at a time, with its task, ratio and the names of its samples."""
        (batch,) = batches
        samples = batch.samples
        inputs: dict[str, Any] = {"task": batch.task, "ratio": batch.ratio, "names": [sample.name for sample in samples]}
        inputs |= self._chunks(samples)
        if samples[0].targets is not None:
            targets = stack_targets([own for sample in samples for own in sample.targets or []])
            return inputs | {"targets": targets, "n_positions": sum(sample.n_positions for sample in samples)}
        inputs |= self._pad([[(sample.prompt_ids, sample.answer_ids), *sample.turns] for sample in samples], "")
        if all(sample.teacher_ids is not None for sample in samples):
            inputs |= self._pad([[(sample.teacher_ids or [], sample.answer_ids), *sample.turns] for sample in samples], "teacher_")
        return inputs | {"n_positions": sum(sample.n_positions for sample in samples)}

    def _pad(self, conversations: list[list[tuple[list[int], list[int]]]], prefix: str) -> dict[str, Tensor]:
        longest = max(sum(len(prompt) + len(answer) for prompt, answer in turns) for turns in conversations)
        ids = torch.full((len(conversations), longest), self.processor.tokenizer.pad_token_id or 0)
        labels = torch.full_like(ids, -100)
        for row, turns in enumerate(conversations):
            end = 0
            for prompt, answer in turns:
                begin, end = end, end + len(prompt) + len(answer)
                ids[row, begin:end] = torch.tensor(prompt + answer)
                labels[row, begin + len(prompt) : end] = torch.tensor(answer)
        return {f"{prefix}input_ids": ids, f"{prefix}labels": labels}

    def _chunks(self, samples: list[Sample]) -> dict[str, Tensor]:
        """Pad the encoder's inputs; a batch without any gets one that feeds no soft token, so that every process has the same graph."""
        inputs = self.processor.pad_chunks([sample.rows for sample in samples], [sample.soft_ids for sample in samples])
        if not inputs["chunk_attention_mask"].any():
            inputs["chunk_attention_mask"][0, 0, 0] = 1
        return inputs
