"""What stands in the prompt, in which form, so that it fits the decoder's window.

A plan names the documents, whether their soft tokens are read, and the chunks that stand as text.
The planner makes one for a question, and turns it into the prompt that the decoder reads.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from e2llm.documents.compressed import CompressedDocument
from e2llm.errors import WindowError
from e2llm.model import E2LLMConfig, E2LLMProcessor
from e2llm.reading.notices import ratio_notices
from e2llm.reading.prompt import (
    ExpandedChunk,
    Passage,
    Prompt,
    answer_cue,
    join_neighbours,
    prompt_parts,
)
from e2llm.reading.ranking import RankedChunk
from e2llm.reading.ratio import too_long

UNTRAINED_SOFT = (
    "this pair is untrained: its soft tokens carry no meaning yet, so with `expand=0` the answer "
    "does not rest on the document."
)
UNTRAINED_LEFT_OUT = (
    "this pair is untrained: its soft tokens are left out of the prompt, and the answer rests on "
    "the expanded chunks alone."
)


class UntrainedWarning(UserWarning):
    """The pair's adapter has not been trained."""


@dataclass(frozen=True)
class Plan:
    """The form in which each part of the documents stands in the prompt.

    Attributes:
        documents: In the order in which they stand.
        soft: Whether their soft tokens are read.
        expanded: Chunks that stand as text, the best first.
        notices: What the asker should know, one line each.
        ids: Of the prompt, with a placeholder for each soft token; empty until it is written.
    """

    documents: tuple[CompressedDocument, ...]
    soft: bool
    expanded: tuple[RankedChunk, ...] = ()
    notices: tuple[str, ...] = ()
    ids: list[int] = field(default_factory=list, repr=False)

    @property
    def passages(self) -> list[Passage]:
        """The expanded chunks in the order of the documents, neighbours as one."""
        chosen = [(chunk.document, chunk.chunk) for chunk in self.expanded]
        return join_neighbours(self.documents, chosen)

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
        return torch.cat([document.soft_tokens for document in self.documents])

    def best(self, n_expanded: int) -> "Plan":
        """Return the plan with its `n_expanded` best chunks alone."""
        return replace(self, expanded=self.expanded[:n_expanded])


@dataclass(frozen=True)
class Planner:
    """Plan what the decoder of a pair reads.

    Attributes:
        config: Of the pair; its window, and what it does unless asked otherwise.
        processor: Of the pair; it counts tokens and builds prompt ids.
    """

    config: E2LLMConfig
    processor: E2LLMProcessor

    @property
    def window(self) -> int | None:
        """Positions that the decoder reads; None where nothing limits them."""
        return self.config.decoder_window

    def reads_soft(self, expand: int) -> bool:
        """Tell whether soft tokens stand in the prompt: an untrained pair's only without text."""
        return self.config.trained or expand == 0

    def plan(
        self,
        question: str,
        documents: Sequence[CompressedDocument],
        ranked: Sequence[RankedChunk],
        expand: int,
        max_new_tokens: int,
    ) -> Plan:
        """Plan a question: soft tokens, and as many of the ranked chunks as fit, `expand` at most.

        Args:
            question: The question.
            documents: What it is asked about.
            ranked: Their chunks, the best first.
            expand: Most chunks that stand as text.
            max_new_tokens: Room for the answer, in positions.

        Raises:
            WindowError: The prompt and the answer do not fit the decoder's window, without chunks
                as text or with a single one.
        """
        # First everything that is wanted, then what of it fits.
        soft = self.reads_soft(expand)
        notices = ratio_notices(documents, self.config.ratio) if soft else []
        if documents and not self.config.trained:
            notices.insert(0, UNTRAINED_LEFT_OUT if expand else UNTRAINED_SOFT)
        wanted = Plan(tuple(documents), soft, tuple(ranked[:expand]), tuple(notices))
        if self.window is None:
            return self.write(question, wanted)
        plan = self.fit(question, wanted, self.window - max_new_tokens)
        if (positions := len(plan.ids)) + max_new_tokens > self.window:
            # Where no soft token stands in the prompt, no ratio could make it shorter.
            documents = documents if soft else []
            raise WindowError(
                too_long(
                    self.processor, question, documents, positions, max_new_tokens, self.window
                )
            )
        # An untrained pair's prompt without a chunk would hold nothing of the documents.
        n_wanted, n_left = len(wanted.expanded), len(plan.expanded)
        if n_wanted and not n_left and not soft:
            raise WindowError(
                f"`expand` (={expand}): not one chunk fits the decoder's window of {self.window} "
                "positions; compress with smaller chunks."
            )
        # Nothing is left out in silence.
        if n_left < n_wanted:
            notice = (
                f"{n_wanted - n_left} of {n_wanted} chunks to expand found no room in the "
                f"decoder's window of {self.window} positions."
            )
            plan = replace(plan, notices=(*plan.notices, notice))
        return plan

    def fit(self, question: str, plan: Plan, positions: int, least: int = 0) -> Plan:
        """Return the plan with the most of its best chunks that take at most so many positions.

        Args:
            question: The question.
            plan: The plan with all chunks that are wanted.
            positions: Decoder positions that the prompt may take.
            least: Chunks that stay although they do not fit.
        """
        written = self.write(question, plan)
        # The prompt grows with the chunks: the most of them that fit are found by halving.
        fewest, most = min(least, len(plan.expanded)), len(plan.expanded)
        if len(written.ids) <= positions or fewest == most:
            return written
        written, most = self.write(question, plan.best(fewest)), most - 1
        while fewest < most:
            middle = (fewest + most + 1) // 2
            tried = self.write(question, plan.best(middle))
            if len(tried.ids) <= positions:
                written, fewest = tried, middle
            else:
                most = middle - 1
        return written

    def write(self, question: str, plan: Plan) -> Plan:
        """Return the plan with the ids of its prompt."""
        named = [(document.name, document.n_soft) for document in plan.documents]
        cue = answer_cue(self.processor)
        parts = prompt_parts(question, named, plan.passages, plan.soft, cue)
        return replace(plan, ids=self.processor.prompt_ids(parts))


def _expanded(documents: Sequence[CompressedDocument], ranked: RankedChunk) -> ExpandedChunk:
    document, score = documents[ranked.document], round(ranked.score, 4)
    chunk = document.chunks[ranked.chunk]
    place = (document.name, chunk.start, chunk.end, ranked.chunk)
    return ExpandedChunk(chunk.text, *place, score, chunk.page)
