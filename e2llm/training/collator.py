"""A batch of samples as tensors: packed into one row without padding, or padded.

Padded rows are padded at their end and have no attention mask: under causal attention no position
that counts sees the padding, and attention kernels skip half of their work where the mask is the
plain causal one.
"""

from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from e2llm.model.processing import E2LLMProcessor
from e2llm.model.rows import pad_rows
from e2llm.training.mixture import Batch
from e2llm.training.tasks.alignment import stack_targets
from e2llm.training.tasks.base import Sample


@dataclass(frozen=True)
class Collator:
    """Turn a `Batch` into the inputs of `Objective`.

    Attributes:
        processor: The pair's.
        packs: Whether samples stand one after the other in a batch of one row, as a decoder reads
            them after `attend_packed`.

    Shape:
        input_ids, labels (batch, seq), labels -100 where no loss is taken; position_ids (batch,
        seq) and cu_seq_lens_q (n_samples + 1), where each sample begins, of packed ones;
        teacher_input_ids and so on likewise; chunk_input_ids, chunk_attention_mask, chunk_soft_ids
        (batch, n_chunks, chunk_len); targets (n_soft, longest), padded with -1; n_samples ().
    """

    processor: E2LLMProcessor
    packs: bool = False

    def __call__(self, batches: list[Batch]) -> dict[str, Any]:
        """Return the tensors of one batch, with its task, ratio and the names of its samples."""
        # The loader's batch size is 1, for one item of the mixture is a whole batch already.
        (batch,) = batches
        samples = batch.samples
        inputs: dict[str, Any] = {
            "task": batch.task,
            "ratio": batch.ratio,
            "names": [sample.name for sample in samples],
            "n_positions": sum(sample.n_positions for sample in samples),
            "n_samples": torch.tensor(len(samples)),  # ()
        }
        inputs |= self._chunks(samples)
        if samples[0].targets is not None:
            targets = [own for sample in samples for own in sample.targets or []]
            return inputs | {"targets": stack_targets(targets)}
        read = [[(sample.prompt_ids, sample.answer_ids), *sample.turns] for sample in samples]
        inputs |= self._texts(read, "")
        # For distillation: the same answers after the prompt that the teacher reads.
        if all(sample.teacher_ids is not None for sample in samples):
            taught = [
                [(sample.teacher_ids or [], sample.answer_ids), *sample.turns] for sample in samples
            ]
            inputs |= self._texts(taught, "teacher_")
        return inputs

    def _texts(
        self, conversations: list[list[tuple[list[int], list[int]]]], prefix: str
    ) -> dict[str, Tensor]:
        """Pack or pad conversations, each a list of prompts with their answers."""
        rows = []  # of every conversation ids and labels, (2, length)
        for turns in conversations:
            ids = [token for prompt, answer in turns for token in (*prompt, *answer)]
            labels = [
                token for prompt, answer in turns for token in (*[-100] * len(prompt), *answer)
            ]
            rows.append(torch.tensor([ids, labels]))  # (2, length)
        if self.packs:
            lengths = [row.shape[1] for row in rows]
            packed = torch.cat(rows, 1)[:, None]  # (2, 1, seq)
            tensors = dict(zip(("input_ids", "labels"), packed, strict=True))
            # Positions begin anew with every conversation.
            tensors["position_ids"] = torch.cat([*map(torch.arange, lengths)])[None]  # (1, seq)
            starts = F.pad(torch.tensor(lengths).cumsum(0), (1, 0))  # (n_samples + 1,)
            tensors["cu_seq_lens_q"] = starts.int()
        else:
            # A tokenizer without padding gets 0: any id serves where no loss is taken.
            paddings = {"input_ids": self.processor.tokenizer.pad_token_id or 0, "labels": -100}
            columns = zip(*rows, strict=True)  # all ids, then all labels
            # (batch, seq)
            tensors = {
                name: pad_sequence(list(column), batch_first=True, padding_value=padding)
                for (name, padding), column in zip(paddings.items(), columns, strict=True)
            }
        return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}

    def _chunks(self, samples: list[Sample]) -> dict[str, Tensor]:
        """Pad the encoder's inputs, (batch, n_chunks, chunk_len).

        A batch without any gets one that feeds no soft token, so that every process has the same
        graph.
        """
        rows = [sample.rows for sample in samples]
        soft_ids = [sample.soft_ids for sample in samples]
        if self.packs:
            rows, soft_ids = [list(chain(*rows))], [_number(soft_ids)]
        inputs = pad_rows(rows, soft_ids, self.processor.encoder_tokenizer.pad_token_id or 0)
        if not inputs["chunk_attention_mask"].any():
            inputs["chunk_attention_mask"][0, 0, 0] = 1
        return inputs


def _number(samples: list[list[np.ndarray]]) -> list[np.ndarray]:
    """Number the soft tokens of samples that become one document, sample after sample."""
    result, n_before = [], 0
    for rows in samples:
        result += [np.where(row >= 0, row + n_before, -1) for row in rows]
        # A sample's numbers begin at 0 and -1 feeds no soft token, so that one more than the
        # greatest is how many the sample has.
        n_before += 1 + max((int(row.max(initial=-1)) for row in rows), default=-1)
    return result
