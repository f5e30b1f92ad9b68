"""Alignment: regress soft tokens onto the decoder's own input embeddings.

It is the warm start before the paper's tasks; the decoder does not run. With one soft token per
token state, a soft token should be the mean of the decoder's input embeddings of the decoder tokens
that overlap the encoder's token in the text: the decoder then reads soft tokens much as it reads
text, before it has been trained at all.
"""

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from e2llm.model.modeling import CHUNK_INPUTS
from e2llm.model.processing import E2LLMProcessor
from e2llm.training.data.records import Record
from e2llm.training.tasks.base import Draw, Others, Sample, Task, draw_window, text_of
from e2llm.training.tasks.loss import Loss


class Alignment(Task):
    """Squared error between soft tokens and input embeddings, in units of the embeddings' norm."""

    name: ClassVar[str] = "alignment"
    kind: ClassVar[str] = "text"

    def make(self, record: Record, draw: Draw, others: Others) -> Sample | None:
        """Return a sample with one soft token per token state of the encoder."""
        text, spans = draw_window(text_of(record), draw)
        processor = draw.processor
        rows = processor.encoder_rows(text, spans, processor.window_chunks)
        targets = overlapping_ids(processor, text, spans)
        places = [np.flatnonzero(row.chunk_ids >= 0) for row in rows]  # (tokens of chunks,) each
        if sum(map(len, places)) != len(targets):
            return None  # the encoder's tokens could not be told apart in the text
        soft_ids, n_soft, n_kept = [], 0, 0
        for row, own in zip(rows, places, strict=True):
            ids = np.full(len(row.chunk_ids), -1, np.int64)  # (chunk_len,)
            wanted = [place for index, place in enumerate(own, n_kept) if targets[index]]
            ids[wanted] = n_soft + np.arange(len(wanted))
            n_soft += len(wanted)
            n_kept += len(own)
            soft_ids.append(ids)
        if not n_soft:
            return None
        return Sample(
            f"{record.source}/{record.id}", rows, soft_ids, targets=[own for own in targets if own]
        )

    def loss(self, model: Any, inputs: dict[str, Tensor]) -> Loss:
        """Return the sum of squared distances over the embeddings' squared norm."""
        chunks = {name: inputs[name] for name in CHUNK_INPUTS[:3]}  # (batch, n_chunks, chunk_len)
        soft_tokens, mask = model.compress(**chunks)  # (batch, n_soft, d_dec), (batch, n_soft)
        table = model.get_input_embeddings().weight  # (vocab, d_dec)
        with torch.no_grad():
            wanted = bag_means(table, inputs["targets"]).float()  # (n_soft of all, d_dec)
        distance = (soft_tokens[mask].float() - wanted).square().sum(-1)  # (n_soft of all,)
        return Loss(distance.sum() / model.config.soft_token_norm**2, mask.sum())


def overlapping_ids(
    processor: E2LLMProcessor, text: str, spans: list[tuple[int, int]]
) -> list[list[int]]:
    """Return, per token that the encoder reads of the chunks, the decoder ids that overlap it."""
    result: list[list[int]] = []
    prompt = processor.document_prompt
    for start, end in spans:
        decoded = processor._decoder_text.encode(text[start:end])
        bounds = np.asarray(decoded.offsets, np.int64).reshape(-1, 2)  # (decoder tokens, 2)
        encoded = processor._encoder_text.encode(prompt + text[start:end])
        for piece in [encoded, *encoded.overflowing]:
            for (a, b), special in zip(piece.offsets, piece.special_tokens_mask, strict=True):
                if special or b - 1 < len(prompt):
                    continue
                a, b = max(0, a - len(prompt)), b - len(prompt)
                first = np.searchsorted(bounds[:, 1], a, "right")
                last = np.searchsorted(bounds[:, 0], b, "left")
                result.append(decoded.ids[first:last])
    return result


def bag_means(table: Tensor, targets: Tensor) -> Tensor:
    """Average rows of an embedding table; targets are padded with -1.

    Shape:
        table (vocab, d_dec), targets (n_soft, longest) -> (n_soft, d_dec)
    """
    mask = targets >= 0  # (n_soft, longest)
    sums = (table[targets.clamp(min=0)] * mask[..., None]).sum(1)  # (n_soft, d_dec)
    return sums / mask.sum(1, keepdim=True).clamp(min=1)


def stack_targets(targets: list[list[int]]) -> Tensor:
    """Pad lists of ids with -1; return (n_soft, longest)."""
    longest = max([1, *map(len, targets)])
    return torch.tensor([own + [-1] * (longest - len(own)) for own in targets]).reshape(-1, longest)
