"""What an earlier state of a text gives to the reading of the present one: chunks read already."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
import torch

from e2llm.chunking.changed import cut_changed
from e2llm.chunking.chunker import Chunker, Span, SpanMaker, make_spans
from e2llm.compression.block import Block
from e2llm.documents.compressed import CompressedDocument
from e2llm.documents.source import Source
from e2llm.model.rows import soft_counts

# Chunks from `first` to before `last`, and which of the earlier document's they are; None: new.
Run = tuple[int, int, np.ndarray | None]


@dataclass(frozen=True)
class Earlier:
    """A document of an earlier state of a text, made by the same model in the same way.

    Chunks at the start that stayed the same are kept as they are, so that a text that has only
    grown is as if the whole had been read. Behind a change, and with each chunk read alone, a chunk
    of the same text is used again: its soft tokens and its embedding depend on nothing else. The
    count of its soft tokens may be one off what the rule would give it there; the chunks that are
    read anew take up the difference, so that the whole stays within one soft token of the rule, and
    after many changes within a few.

    Attributes:
        document: The document.
        source: The text as it is now.
        chunker: What cuts it.
    """

    document: CompressedDocument
    source: Source
    chunker: SpanMaker

    @cached_property
    def spans(self) -> list[Span]:
        """The spans of the text's chunks as it is now.

        Raises:
            UserError: As `make_spans`.
        """
        other = self.document.chunker != self.chunker
        if other or self.document.window > 1 or self.has_grown:
            return self._fresh_spans
        old = (self.document.text, self._old_spans)
        return cut_changed(self.source.text, self.chunker, self.source.record_starts, *old)

    @cached_property
    def has_grown(self) -> bool:
        """Whether the text only goes on, and is cut as one that is read for the first time."""
        return self.source.text.startswith(self.document.text) and (
            not isinstance(self.chunker, Chunker)
            or self.chunker != self.document.chunker
            or self._n_leading(self._fresh_spans) >= self.document.n_chunks - 1
        )

    @property
    def runs(self) -> list[Run]:
        """The chunks in runs that are new and runs that are used again; one of these leads."""
        window, spans = self.document.window, self.spans
        kept = self._n_leading(spans)
        if not kept == len(spans) == self.document.n_chunks:
            kept = kept // window * window
        runs: list[Run] = [(0, kept, np.arange(kept))]
        if window > 1 or self.has_grown:
            return [*runs, *([(kept, len(spans), None)] if kept < len(spans) else [])]
        start = kept
        for known, group in groupby(self._places(spans[kept:], kept - 1), key=lambda own: own >= 0):
            places = np.array(list(group), np.int64)
            runs.append((start, start + len(places), places if known else None))
            start += len(places)
        return runs

    def block(self, places: np.ndarray, owed: float) -> Block:
        """Return chunks of the document as a block.

        Args:
            places: (n_chunks,) their indices.
            owed: Rounding error carried from the chunks before, in soft tokens.
        """
        document, ratio = self.document, self.document.ratio
        n_soft, n_tokens = document.n_soft_per_chunk[places], document.n_tokens_per_chunk[places]
        # Capped by the counts that it once gave, the rule gives them again, and with them the
        # rounding error to carry on. Behind a change it may give a chunk one more.
        ruled, owed = soft_counts(n_tokens, n_soft + (0 if self.has_grown else 1), ratio, owed)
        if ratio != "chunk":
            owed -= min(max(int((n_soft - ruled).sum()), -1), 1)
        ends = self._ends
        parts = [
            document.soft_tokens[int(ends[last]) - int(n) : int(ends[last])]
            for last, n in zip(places.tolist(), n_soft.tolist(), strict=True)
        ]
        soft_tokens = torch.cat(parts) if parts else document.soft_tokens[:0]
        return Block(soft_tokens, document.embeddings[places], n_soft, n_tokens, owed)

    @cached_property
    def _ends(self) -> np.ndarray:
        """Where each chunk's soft tokens end, (n_chunks,)."""
        return self.document.n_soft_per_chunk.cumsum()

    @cached_property
    def _old_spans(self) -> list[Span]:
        return [(int(start), int(end)) for start, end in self.document.spans.tolist()]

    @cached_property
    def _fresh_spans(self) -> list[Span]:
        return make_spans(self.source.text, self.chunker, self.source.record_starts)

    def _n_leading(self, spans: Sequence[Span]) -> int:
        """Count the chunks at the start that have stayed the same."""
        n_leading = 0
        for own, old in zip(spans, self._old_spans, strict=False):
            old_text = self.document.text[old[0] : old[1]]
            if own != old or not self.source.text.startswith(old_text, own[0]):
                break
            n_leading += 1
        return n_leading

    def _places(self, spans: Sequence[Span], last: int) -> list[int]:
        """Find each chunk's text among the document's chunks; -1 where it is not there.

        Of several chunks of one text it is the next behind the one before.
        """
        known: dict[str, list[int]] = {}
        for index, (start, end) in enumerate(self._old_spans):
            known.setdefault(self.document.text[start:end], []).append(index)
        places: list[int] = []
        for start, end in spans:
            same = known.get(self.source.text[start:end])
            if same:
                last = same[bisect_right(same, last) % len(same)]
            places.append(last if same else -1)
        return places
