"""The encoder's inputs: which chunk each token is of, and which soft token it feeds.

The tokens of a chunk fall into k equal groups, in order; each group is pooled to one soft token.
How many a chunk gets is decided here too, by the ratio.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class EncoderRow:
    """One input of the encoder: a chunk, several read together, or a piece of one too long for it.

    Attributes:
        input_ids: Encoder token ids, special tokens included.
        chunk_ids: Per token, the index of the chunk that it belongs to; -1 for special tokens and
            the document prompt.
        special: Per token, whether it is a special token of the encoder.
        head: Index of the chunk that the row's leading special token counts for, or -1 where the
            row continues a chunk.
    """

    input_ids: list[int]
    chunk_ids: np.ndarray
    special: np.ndarray
    head: int


def count_states(rows: Sequence[EncoderRow], n_chunks: int) -> np.ndarray:
    """Count the token states that the encoder gives for each chunk, (n_chunks,).

    Special tokens and the document prompt are left out.
    """
    if not rows:
        return np.zeros(n_chunks, np.int64)
    chunk_ids = np.concatenate([row.chunk_ids for row in rows])  # (n_tokens,)
    return np.bincount(chunk_ids[chunk_ids >= 0], minlength=n_chunks).astype(np.int64)


def soft_counts(
    n_tokens: np.ndarray, n_states: np.ndarray, ratio: float | str, owed: float = 0.0
) -> tuple[np.ndarray, float]:
    """Decide how many soft tokens each chunk gets.

    k = max(1, round(tokens / ratio)), with the rounding error carried to the next chunk so that the
    ratio got over the document is the ratio asked, and at most one per token state; none for a
    chunk of which the encoder's tokenizer makes nothing (white space).

    Args:
        n_tokens: (n_chunks,) decoder tokens of each chunk.
        n_states: (n_chunks,) token states that the encoder gives for it.
        ratio: Text tokens per soft token, or "chunk" for one soft token per chunk.
        owed: Rounding error carried from the chunks before, in soft tokens.

    Returns:
        (n_chunks,) soft tokens of each chunk, and the rounding error to carry on.
    """
    if ratio == "chunk":
        return np.minimum(n_states, 1), 0.0
    counts = np.empty(len(n_tokens), np.int64)
    pairs = zip(n_tokens.tolist(), n_states.tolist(), strict=True)
    for index, (tokens, states) in enumerate(pairs):
        owed += tokens / float(ratio)
        counts[index] = min(max(1, int(owed + 0.5)), states)
        # A debt that a bound made is forgotten: later chunks do not pay for it with detail of
        # their own.
        owed = min(max(owed - counts[index], -0.5), 0.5)
    return counts, owed


def soft_ids(
    rows: Sequence[EncoderRow], counts: np.ndarray, pool_special: bool = False
) -> list[np.ndarray]:
    """Say which soft token each encoder token feeds.

    Args:
        rows: Whole chunks only.
        counts: (n_chunks,) soft tokens of each chunk.
        pool_special: Whether the leading special token feeds a chunk's first soft token.

    Returns:
        Per row an array of soft token indices, counted from 0 at the first chunk; -1 where a token
        feeds none.
    """
    n_states = count_states(rows, len(counts))
    offsets = counts.cumsum() - counts  # (n_chunks,): index of each chunk's first soft token
    seen = np.zeros(len(counts), np.int64)  # token states of each chunk in the rows before
    result = []
    for row in rows:
        ids = np.full(len(row.chunk_ids), -1, np.int64)  # (chunk_len,)
        for chunk in np.unique(row.chunk_ids[row.chunk_ids >= 0]):
            places = np.flatnonzero(row.chunk_ids == chunk)
            order = seen[chunk] + np.arange(len(places))  # among the chunk's token states
            ids[places] = offsets[chunk] + order * counts[chunk] // n_states[chunk]
            seen[chunk] += len(places)
        if pool_special and row.head >= 0 and counts[row.head] and row.special[0]:
            ids[0] = offsets[row.head]
        result.append(ids)
    return result


def pad_rows(
    batch_rows: Sequence[Sequence[EncoderRow]],
    batch_soft_ids: Sequence[Sequence[np.ndarray]],
    pad_id: int,
) -> dict[str, Tensor]:
    """Pad the encoder's inputs of a batch.

    Args:
        batch_rows: Of each item of the batch, its rows.
        batch_soft_ids: Of each row, what its tokens feed.
        pad_id: The encoder's padding id.

    Returns:
        `chunk_input_ids`, `chunk_attention_mask` and `chunk_soft_ids`, all (batch, n_chunks,
        chunk_len), where n_chunks counts rows.
    """
    lengths = [len(row.input_ids) for rows in batch_rows for row in rows]
    shape = (len(batch_rows), max([1, *map(len, batch_rows)]), max([1, *lengths]))
    ids = torch.full(shape, pad_id)  # (batch, n_chunks, chunk_len)
    mask = torch.zeros(shape, dtype=torch.long)
    feeds = torch.full(shape, -1)
    for item, (rows, own_soft_ids) in enumerate(zip(batch_rows, batch_soft_ids, strict=True)):
        for place, (row, own) in enumerate(zip(rows, own_soft_ids, strict=True)):
            length = len(row.input_ids)
            ids[item, place, :length] = torch.tensor(row.input_ids)
            mask[item, place, :length] = 1
            feeds[item, place, :length] = torch.from_numpy(own)
    return {"chunk_input_ids": ids, "chunk_attention_mask": mask, "chunk_soft_ids": feeds}
