"""A plan that keeps to a budget of decoder positions: the form of every chunk by its rank.

What fits as text stands as text. Otherwise the best chunks stand as text, the next ones as fine
soft tokens, and what is left of the budget holds the rest as soft tokens, the best of them first. A
question about the whole has the whole as soft tokens, as fine as the budget allows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from e2llm.documents.compressed import CompressedDocument
from e2llm.errors import UserError
from e2llm.reading.plan import Plan, SoftChunk
from e2llm.reading.planner import UNTRAINED_SOFT, Planner
from e2llm.reading.ranking import RankedChunk

# Ratios at which a question about the whole is read; the finest that fits is taken.
WHOLE_RATIOS = (1, 2, 4, 8, 16, 32, 64)
# Chunks that are read anew for one question, at most: two seconds of a laptop's encoder.
MOST_READ = 128
# A prompt may have fewer tokens than its chunks one by one: rendered, and joined to passages.
SPARE = 1.5

# (document, indices of its chunks, ratio) -> the soft tokens of each chunk, (n_soft, d_dec)
Soften = Callable[[CompressedDocument, Sequence[int], float | str], list[Tensor]]


@dataclass(frozen=True)
class Shares:
    """How a budget is shared out among the forms, where not everything fits as text.

    Attributes:
        text: Share for chunks as text; the rest is for soft tokens.
        fine: Share for chunks as fine soft tokens.
        fine_ratio: Text tokens per fine soft token.
    """

    text: float = 1.0
    fine: float = 0.0
    fine_ratio: float = 2


@dataclass(frozen=True)
class Allocator:
    """Decide in which form each chunk stands, so that the prompt keeps to a budget.

    Attributes:
        planner: Of the pair; it writes prompts.
        soften: Makes soft tokens at another ratio than the stored one.
        shares: How the budget is shared out.
    """

    planner: Planner
    soften: Soften
    shares: Shares = Shares()

    def plan(
        self,
        question: str,
        documents: Sequence[CompressedDocument],
        ranked: Sequence[RankedChunk],
        budget: int,
        whole: bool = False,
    ) -> Plan:
        """Plan a question: the prompt takes at most `budget` positions.

        Args:
            question: The question.
            documents: What it is asked about.
            ranked: Their chunks, the best first.
            budget: Decoder positions of the prompt.
            whole: Whether the question is about the whole; then all is read as soft tokens.

        Raises:
            UserError: Instruction and question leave no room for a chunk.
        """
        free = budget - self.planner.around(question)
        plan = Plan(tuple(documents), soft=False, expanded=tuple(ranked), budget=budget)
        n_tokens = sum(document.n_tokens for document in documents)
        if n_tokens <= free:
            written = self.planner.write(question, plan)
            if len(written.ids) <= budget:
                return written
        reads_soft = self.planner.config.trained
        if whole:
            if not reads_soft:
                plan = replace(plan, notices=(UNTRAINED_SOFT,))
            plan = self._read_whole(plan, ranked, free)
        elif not reads_soft or self.shares.text == 1:
            fitted = self._read_text(question, plan, free, budget)
            plan = fitted if fitted.expanded else self._read_any(plan, ranked, free, reads_soft)
        else:
            plan = self._read_ranked(plan, ranked, free)
        plan = self._shorten(question, plan, budget)
        if whole and (n_out := plan.n_left_out):
            notice = (
                f"{n_out:,} of {len(ranked):,} chunks found no room in the budget of {budget:,} "
                "decoder positions; those that fit the question least are left out."
            )
            plan = replace(plan, notices=(*plan.notices, notice))
        return plan

    def _totals(
        self, documents: Sequence[CompressedDocument], ranked: Sequence[RankedChunk], free: int
    ) -> np.ndarray:
        """Bound the positions that the best so many chunks take as text, with their place lines.

        (n_fitting + 1,): counted until they exceed what is free.
        """
        totals: list[int] = []
        lines: dict[int, int] = {}
        total = 0
        for which, index, _ in ranked:
            document = documents[which]
            if which not in lines:
                end, page = len(document.text), len(document.page_starts)
                # As long as a place can be: two offsets and two pages.
                pages = f"{document.unit}s {page}-{page}"
                line = f"\nFrom {document.name} (characters {end}-{end}, {pages}):\n\n"
                lines[which] = len(self.planner.processor.text_ids(line))
            total += lines[which] + int(document.n_tokens_per_chunk[index])
            totals.append(total)
            if total > free:
                break
        return np.array(totals, np.int64)

    def _read_ranked(
        self,
        plan: Plan,
        ranked: Sequence[RankedChunk],
        free: int,
    ) -> Plan:
        """Give the best chunks as text, the next as fine soft tokens, the rest as stored."""
        shares = self.shares
        totals = self._totals(plan.documents, ranked, free)  # (n_fitting,)
        n_text = int(np.searchsorted(totals, free * shares.text, side="right"))
        if shares.text and totals[0] <= free:  # one at the least
            n_text = max(n_text, 1)
        left = free - (int(totals[n_text - 1]) if n_text else 0)
        plan = replace(plan, expanded=tuple(ranked[:n_text]))
        if shares.text and not n_text:
            return self._read_any(plan, ranked, free, reads_soft=True)
        sizes = [self._n_soft(plan, chunk, shares.fine_ratio) for chunk in ranked[n_text:]]
        n_fine = int(np.searchsorted(np.cumsum(sizes), min(left, free * shares.fine), "right"))
        n_fine = min(n_fine, MOST_READ)
        softened = self._softened(plan, ranked[n_text : n_text + n_fine], shares.fine_ratio)
        left -= sum(len(chunk.tokens) for chunk in softened)
        left -= sum(self._line(plan.documents[which]) for which in {own[0] for own in softened})
        softened += self._fitting(plan, ranked[n_text + n_fine :], left)
        return replace(plan, soft=bool(softened), softened=tuple(softened))

    def _read_text(self, question: str, plan: Plan, free: int, budget: int) -> Plan:
        """Give as many of the best chunks as text as the written prompt has room for."""
        n_tokens = np.cumsum([_n_tokens(plan, chunk) for chunk in plan.expanded])  # (n_ranked,)
        # Only as many are tried as could fit, or the whole document would be tokenised.
        n_most = 1 + int(np.searchsorted(n_tokens, SPARE * free))
        return self.planner.fit(question, plan.best(n_most), budget)

    def _read_any(
        self, plan: Plan, ranked: Sequence[RankedChunk], free: int, reads_soft: bool
    ) -> Plan:
        """Give the best chunk that fits as text; else soft tokens, where they are trained."""
        for chunk in ranked:
            if (
                _n_tokens(plan, chunk) <= free
                and self._totals(plan.documents, [chunk], free)[0] <= free
            ):
                return replace(plan, expanded=(chunk,))
        softened = self._fitting(plan, ranked, free) if reads_soft else []
        return replace(plan, soft=bool(softened), softened=tuple(softened))

    def _read_whole(self, plan: Plan, ranked: Sequence[RankedChunk], free: int) -> Plan:
        """Give every chunk as soft tokens, as fine as the budget allows.

        Of more than `MOST_READ` chunks the stored ones are read.
        """
        documents = plan.documents
        plan = replace(plan, expanded=(), soft=True)
        if len(ranked) <= MOST_READ:
            beside_lines = free - sum(map(self._line, documents))
            for ratio in WHOLE_RATIOS:
                if sum(self._n_soft(plan, chunk, ratio) for chunk in ranked) <= beside_lines:
                    made = self._softened(plan, ranked, ratio)
                    return replace(plan, softened=tuple(made))
        return replace(plan, softened=tuple(self._fitting(plan, ranked, free)))

    def _line(self, document: CompressedDocument) -> int:
        """Count the positions of the line before a document's soft tokens."""
        return len(self.planner.processor.text_ids(f"\nDocument {document.name}:\n\n"))

    def _n_soft(self, plan: Plan, chunk: RankedChunk, ratio: float) -> int:
        """Bound the soft tokens of a chunk at a ratio."""
        return int(_n_tokens(plan, chunk) / ratio) + 1

    def _softened(
        self, plan: Plan, chunks: Sequence[RankedChunk], ratio: float | str
    ) -> list[SoftChunk]:
        """Make the soft tokens of chunks at a ratio."""
        made: dict[tuple[int, int], SoftChunk] = {}
        for which in sorted({chunk.document for chunk in chunks}):
            own = [chunk.chunk for chunk in chunks if chunk.document == which]
            parts = self.soften(plan.documents[which], own, ratio)
            for index, part in zip(own, parts, strict=True):
                made[which, index] = SoftChunk(which, index, ratio, part)
        return [made[chunk.document, chunk.chunk] for chunk in chunks]

    def _fitting(self, plan: Plan, ranked: Sequence[RankedChunk], free: int) -> list[SoftChunk]:
        """Return the stored soft tokens of the best chunks that fit."""
        kept: list[SoftChunk] = []
        stored: dict[int, list[SoftChunk]] = {}
        for ranked_chunk in ranked:
            which = ranked_chunk.document
            if which not in stored:
                stored[which] = plan.stored(which)
                free -= self._line(plan.documents[which])
            chunk = stored[which][ranked_chunk.chunk]
            free -= len(chunk.tokens)
            if free < 0:
                break
            kept.append(chunk)
        return kept

    def _shorten(self, question: str, plan: Plan, budget: int) -> Plan:
        """Write the plan; what the bounds did not foresee leaves soft tokens, then chunks, out."""
        while True:
            written = self.planner.write(question, plan)
            if len(written.ids) <= budget and (plan.expanded or plan.softened):
                return written
            if plan.softened:
                softened = plan.softened[: len(plan.softened) * 3 // 4]
                plan = replace(plan, softened=softened, soft=bool(softened))
            elif len(plan.expanded) > 1:
                plan = plan.best(len(plan.expanded) - 1)
            else:
                n_around = self.planner.around(question)
                raise UserError(
                    f"`budget` (={budget}): instruction and question take {n_around} decoder "
                    "positions, and what is left holds not one chunk; raise the budget, shorten "
                    "the question, or compress with smaller chunks."
                )


def _n_tokens(plan: Plan, chunk: RankedChunk) -> int:
    return int(plan.documents[chunk.document].n_tokens_per_chunk[chunk.chunk])
