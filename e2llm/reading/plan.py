"""What stands in the prompt, in which form: as text, as soft tokens, or not at all.

A plan is data: it prints as a table, and turns into the prompt that the decoder reads.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from e2llm.documents.compressed import CompressedDocument
from e2llm.reading.prompt import ExpandedChunk, Passage, Prompt, join_neighbours
from e2llm.reading.ranking import RankedChunk


class SoftChunk(NamedTuple):
    """A chunk that stands as soft tokens.

    Attributes:
        document: Which of the documents it is of, counted from 0.
        chunk: Its index in that document.
        ratio: Text tokens per soft token, or "chunk".
        tokens: Its soft tokens, (n_soft, d_dec).
    """

    document: int
    chunk: int
    ratio: float | str
    tokens: Tensor


class PlannedChunk(NamedTuple):
    """A row of a plan's table.

    Attributes:
        document: Name of the document.
        chunk: Index of the chunk in it.
        start, end: Offsets in the document's text, in characters.
        form: "text" or "soft".
        ratio: Text tokens per decoder position; 1 for text.
        positions: Decoder positions that it takes.
        score: Similarity to the question; None where the chunk was not ranked.
    """

    document: str
    chunk: int
    start: int
    end: int
    form: str
    ratio: float | str
    positions: int
    score: float | None


@dataclass(frozen=True)
class Plan:
    """The form in which each part of the documents stands in the prompt.

    Attributes:
        documents: In the order in which they stand.
        soft: Whether soft tokens are read.
        expanded: Chunks that stand as text, the best first.
        notices: What the asker should know, one line each.
        ids: Of the prompt, with a placeholder for each soft token; empty until it is written.
        softened: Chunks that stand as soft tokens, the best first; None for every chunk of every
            document, as it is stored.
        budget: Decoder positions that it had to keep to; None for the window alone.
    """

    documents: tuple[CompressedDocument, ...]
    soft: bool
    expanded: tuple[RankedChunk, ...] = ()
    notices: tuple[str, ...] = ()
    ids: list[int] = field(default_factory=list, repr=False)
    softened: tuple[SoftChunk, ...] | None = None
    budget: int | None = None

    @property
    def passages(self) -> list[Passage]:
        """The expanded chunks in the order of the documents, neighbours as one."""
        chosen = [(chunk.document, chunk.chunk) for chunk in self.expanded]
        return join_neighbours(self.documents, chosen)

    @property
    def named(self) -> list[tuple[str, int]]:
        """Name and number of soft tokens of each document that stands as soft tokens.

        Without soft tokens: of every document, since their names are all that is told.
        """
        if self.softened is None:
            return [(document.name, document.n_soft) for document in self.documents]
        counts = [
            (self.documents[which].name, sum(len(chunk.tokens) for chunk in own))
            for which, own in groupby(sorted(self.softened, key=_place), lambda own: own.document)
        ]
        return counts or [(document.name, 0) for document in self.documents]

    @property
    def prompt(self) -> Prompt:
        """What the decoder reads, once the plan is written."""
        expanded = tuple(_expanded(self.documents, chunk) for chunk in sorted(self.expanded))
        return Prompt(self.ids, self.soft_tokens, expanded, self.notices)

    @property
    def soft_tokens(self) -> Tensor | None:
        """The soft tokens of all documents, (n_soft, d_dec); None where none are read."""
        if not self.documents or not self.soft:
            return None
        # Of each (n_soft, d_dec), one after the other.
        if self.softened is None:
            return torch.cat([document.soft_tokens for document in self.documents])
        return torch.cat([chunk.tokens for chunk in sorted(self.softened, key=_place)])

    @property
    def chunks(self) -> list[PlannedChunk]:
        """What stands in the prompt, chunk by chunk in the order of the documents."""
        scores = {(chunk.document, chunk.chunk): chunk.score for chunk in self.expanded}
        rows: list[tuple[int, int, str, float | str, int | None]] = [
            (which, index, "text", 1, None) for which, index in scores
        ]
        for chunk in self._softened():
            rows.append((chunk.document, chunk.chunk, "soft", chunk.ratio, len(chunk.tokens)))
        return [
            self._row(*row, scores.get(row[:2])) for row in sorted(rows, key=lambda own: own[:3])
        ]

    @property
    def n_left_out(self) -> int:
        """Chunks of which nothing stands in the prompt."""
        placed = {(chunk.document, chunk.chunk) for chunk in self.expanded}
        placed |= {_place(chunk) for chunk in self._softened()}
        return sum(document.n_chunks for document in self.documents) - len(placed)

    def __str__(self) -> str:
        """Print the plan as a table, neighbours of one form as one row."""
        lines = [f"{'form':<5} {'ratio':>5} {'positions':>9} {'score':>5}  place"]
        for own in _neighbours(self.chunks):
            name, form, ratio = own[0].document, own[0].form, own[0].ratio
            scores = [row.score for row in own if row.score is not None]
            score = f"{max(scores):.2f}" if scores else ""
            place = f"{name} {own[0].start:,}-{own[-1].end:,}"
            place += f" ({len(own)} chunks)" if len(own) > 1 else ""
            n_positions = sum(row.positions for row in own)
            lines.append(f"{form:<5} {ratio:>5} {n_positions:>9,} {score:>5}  {place}")
        if self.n_left_out:
            lines.append(f"{self.n_left_out:,} chunks are left out")
        budget = f" of {self.budget:,}" if self.budget is not None else ""
        return "\n".join([*lines, f"{len(self.ids):,}{budget} decoder positions in all"])

    def best(self, n_expanded: int) -> "Plan":
        """Return the plan with its `n_expanded` best chunks alone."""
        return replace(self, expanded=self.expanded[:n_expanded])

    def _softened(self) -> Sequence[SoftChunk]:
        if not self.soft:
            return ()
        if self.softened is not None:
            return self.softened
        return [chunk for which in range(len(self.documents)) for chunk in self.stored(which)]

    def stored(self, which: int) -> list[SoftChunk]:
        """Return every chunk of a document with its soft tokens as they are stored."""
        document = self.documents[which]
        parts = document.soft_tokens.split(document.n_soft_per_chunk.tolist())
        return [SoftChunk(which, index, document.ratio, part) for index, part in enumerate(parts)]

    def _row(
        self,
        which: int,
        index: int,
        form: str,
        ratio: float | str,
        n_soft: int | None,
        score: float | None,
    ) -> PlannedChunk:
        document = self.documents[which]
        start, end = document.spans[index].tolist()
        n_positions = int(document.n_tokens_per_chunk[index]) if n_soft is None else n_soft
        return PlannedChunk(document.name, index, start, end, form, ratio, n_positions, score)


def _neighbours(rows: Sequence[PlannedChunk]) -> list[list[PlannedChunk]]:
    """Group rows that follow each other in one document and one form."""
    groups: list[list[PlannedChunk]] = []
    for row in rows:
        last = groups[-1][-1] if groups else None
        follows = last is not None and row.chunk == last.chunk + 1
        if follows and last is not None and last[4:6] == row[4:6] and last.document == row.document:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def _place(chunk: SoftChunk) -> tuple[int, int]:
    return chunk.document, chunk.chunk


def _expanded(documents: Sequence[CompressedDocument], ranked: RankedChunk) -> ExpandedChunk:
    document, score = documents[ranked.document], round(ranked.score, 4)
    chunk = document.chunks[ranked.chunk]
    place = (document.name, chunk.start, chunk.end, ranked.chunk)
    return ExpandedChunk(chunk.text, *place, score, chunk.page, chunk.unit)
