"""A block: what the compressor reads at once, so that its work does not grow with the text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from e2llm.chunking.chunker import Span
from e2llm.compression.encoder_pass import EncoderPass
from e2llm.model.rows import count_states, soft_counts, soft_ids

BLOCK_CHARS = 65_536
FIRST_BLOCK_CHARS = 8_192
# Measured: an adapter takes twice as long for 16,384 tokens at once as for 2,048 at a time, since
# every buffer is new memory.
ADAPTER_TOKENS, ADAPTER_GROUPS = 2_048, 256


@dataclass(frozen=True)
class Block:
    """What some chunks became.

    Attributes:
        soft_tokens: (n_soft, d_dec).
        embeddings: (n_chunks, d_enc).
        n_soft, n_tokens: (n_chunks,) soft tokens of each chunk, and decoder tokens of its text.
        owed: Rounding error to carry on, in soft tokens.
    """

    soft_tokens: Tensor
    embeddings: Tensor
    n_soft: np.ndarray
    n_tokens: np.ndarray
    owed: float

    def part(self, first: int, last: int) -> "Block":
        """Return what the chunks from `first` to before `last` became."""
        n_before, n_soft = int(self.n_soft[:first].sum()), int(self.n_soft[first:last].sum())
        own = slice(first, last)
        return Block(
            self.soft_tokens[n_before : n_before + n_soft],
            self.embeddings[own],
            self.n_soft[own],
            self.n_tokens[own],
            0.0,
        )


@dataclass(frozen=True)
class BlockReader:
    """Read blocks with a pair.

    Attributes:
        encoder: The pass of the pair's encoder.
    """

    encoder: EncoderPass

    def read(
        self,
        text: str,
        spans: Sequence[Span],
        ratio: float | str,
        window: int,
        owed: float,
        ends: Sequence[int] = (),
    ) -> Block:
        """Read chunks at once.

        Args:
            text, spans: The text, and the chunks' places in it.
            ratio: Text tokens per soft token, or "chunk".
            window: Chunks that the encoder reads together.
            owed: Rounding error carried from the chunks before, in soft tokens.
            ends: Where the text is several documents, the chunks up to the end of each; none
                carries its rounding error on.
        """
        model, processor = self.encoder.model, self.encoder.processor
        rows = processor.encoder_rows(text, spans, window)
        n_tokens = processor.count_tokens(text, spans)  # (n_chunks,)
        n_states = count_states(rows, len(spans))  # (n_chunks,)
        counts = []
        for first, last in pairwise([0, *(ends or [len(spans)])]):
            own, owed = slice(first, last), 0.0 if first else owed
            own_soft, owed = soft_counts(n_tokens[own], n_states[own], ratio, owed)
            counts.append(own_soft)
        n_soft = np.concatenate(counts)  # (n_chunks,)
        states = self.encoder.states(rows)  # (n_tokens, d_enc)
        fed = soft_ids(rows, n_soft, processor.pool_special_tokens)
        ids = torch.from_numpy(np.concatenate([*fed, np.zeros(0, np.int64)]))  # (n_tokens,)
        soft_tokens = self._adapt(states, ids.to(states.device), int(n_soft.sum()))
        # Only the mean over a chunk's own tokens is a sentence embedding of a chunk read among
        # others; the other poolings read it alone.
        alone = window > 1 and model.config.embedding_pooling != "mean"
        if alone:
            rows = processor.encoder_rows(text, spans)
            states = self.encoder.states(rows)
        whole = alone or window == 1
        embeddings = self.encoder.sentence_embeddings(rows, states, len(spans), whole)
        return Block(soft_tokens.cpu(), embeddings, n_soft, n_tokens, owed)

    def _adapt(self, states: Tensor, ids: Tensor, n_soft: int) -> Tensor:
        """Return the block's soft tokens, made a few at a time.

        One long group (a line of asterisks) would pad all the others to its length.

        Shape:
            states (n_tokens, d_enc), ids (n_tokens,) -> (n_soft, d_dec)
        """
        adapter = self.encoder.model.adapter
        states, ids = states[ids >= 0], ids[ids >= 0]  # those that feed a soft token, in order
        parts, start, first = [], 0, 0
        while first < n_soft:
            # The group that the first token beyond the budget belongs to is the next part's first,
            # unless it is this part's only one.
            beyond = start + ADAPTER_TOKENS
            last = max(first + 1, int(ids[beyond])) if beyond < len(ids) else n_soft
            last = min(last, first + ADAPTER_GROUPS)
            end = int(torch.searchsorted(ids, last))
            # (n_part, d_enc) -> (last - first, d_dec)
            parts.append(adapter(states[start:end], ids[start:end] - first, last - first))
            start, first = end, last
        return torch.cat(parts) if parts else states.new_zeros(0, adapter.d_dec)


def join(parts: list[Tensor]) -> Tensor:
    """Concatenate along the first axis, letting go of each part as soon as it is copied.

    So the whole never stands in memory twice.
    """
    whole = parts[0].new_empty(sum(map(len, parts)), *parts[0].shape[1:])
    end = len(whole)
    while parts:
        part = parts.pop()
        whole[end - len(part) : end] = part
        end -= len(part)
    return whole


def block_bounds(spans: Sequence[Span], first: int, window: int) -> Iterator[tuple[int, int]]:
    """Yield (first, last) chunk indices of blocks of whole windows, from chunk `first` on.

    The first block is small, so that an estimate comes early.
    """
    budget = FIRST_BLOCK_CHARS
    while first < len(spans):
        last = min(first + window, len(spans))
        while last < len(spans):
            wider = min(last + window, len(spans))
            if spans[wider - 1][1] - spans[first][0] > budget:
                break
            last = wider
        yield first, last
        first, budget = last, BLOCK_CHARS
