"""From a question to a plan: documents are checked, their chunks ranked, their forms decided."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from e2llm.checks import check_count, check_text
from e2llm.compression.compressor import Compressor
from e2llm.documents.compressed import CompressedDocument
from e2llm.errors import UserError, WindowError
from e2llm.reading.budget import Allocator
from e2llm.reading.document_notices import note_documents
from e2llm.reading.found import Finder, names_whole
from e2llm.reading.plan import Plan
from e2llm.reading.planner import Planner
from e2llm.reading.ranking import RankedChunk, rank_chunks
from e2llm.reading.ratio import PLACE_TOKENS, too_long

WHOLE_HINT = (
    "the question seems to be about the whole, and only the passages that fit it best were read; "
    "`whole` (`--whole`) reads all of it, as soft tokens."
)


@dataclass(frozen=True)
class Reader:
    """Plan what the decoder reads for a question.

    Attributes:
        compressor: Of the pair; it embeds the question, and makes soft tokens at other ratios.
        planner: Of the pair.
    """

    compressor: Compressor
    planner: Planner

    def plan(
        self,
        question: str,
        documents: Sequence[CompressedDocument],
        expand: int | None,
        budget: int | None,
        whole: bool,
        max_new_tokens: int,
    ) -> Plan:
        """Plan a question as `E2LLM.plan` says."""
        self._check(question, documents)
        if budget is not None:
            self._check_budget(budget, max_new_tokens)
        if whole and expand is not None:
            raise UserError("`whole` plans by budget: leave `expand` out.")
        if expand is not None or not documents:
            expand = check_count("expand", expand or 0, 0, "chunks; 0 reads soft tokens alone")
            ranked = self.rank(question, documents) if documents and expand else []
            given = (question, documents, ranked, expand, max_new_tokens, budget)
            plan = self.planner.plan(*given)
        else:
            plan = self._allocate(question, documents, budget, whole, max_new_tokens)
        return note_documents(plan, self.planner.processor, question, documents)

    def _allocate(
        self,
        question: str,
        documents: Sequence[CompressedDocument],
        budget: int | None,
        whole: bool,
        max_new_tokens: int,
    ) -> Plan:
        """Plan by budget: the one that is given, or the pair's own."""
        ranked = self.rank(question, documents)
        if budget is None:
            n_whole = sum(document.n_soft for document in documents) if whole else 0
            n_around = self.planner.around(question)
            # A chunk longer than the pair's own budget is read all the same.
            best = ranked[0]
            n_best = int(documents[best.document].n_tokens_per_chunk[best.chunk])
            n_wanted = n_around + max(n_whole, n_best) + PLACE_TOKENS
            budget = self._default_budget(question, n_around, n_wanted, max_new_tokens)
        allocator = Allocator(self.planner, self.compressor.soften)
        plan = allocator.plan(question, documents, ranked, budget, whole)
        hint = self.planner.config.trained and not whole and names_whole(question)
        if hint and plan.n_left_out:
            plan = replace(plan, notices=(*plan.notices, WHOLE_HINT))
        return plan

    def rank(self, question: str, documents: Sequence[CompressedDocument]) -> list[RankedChunk]:
        """Return every chunk of the documents with its score, the best to expand first."""
        return rank_chunks(self.compressor, question, documents)

    def find(self, question: str, plan: Plan) -> bool | None:
        """Tell whether the documents say what is asked, as `Finder.find` does."""
        return Finder(self.compressor).find(question, plan)

    def _check(self, question: str, documents: Sequence[CompressedDocument]) -> None:
        check_question(question)
        # Stale soft tokens are never read.
        for document in documents:
            document.check_fingerprint(self.compressor.fingerprint)
            document.check_width(self.compressor.model.d_dec)

    def _check_budget(self, budget: int, max_new_tokens: int) -> None:
        check_count("budget", budget, 1, "decoder positions")
        window = self.planner.window
        if window is not None and budget + max_new_tokens > window:
            raise WindowError(
                f"`budget` (={budget}): the decoder's window of {window} positions holds "
                f"{max(0, window - max_new_tokens)} beside the {max_new_tokens} of the answer; "
                "lower the budget or `max_new_tokens`."
            )

    def _default_budget(
        self, question: str, n_around: int, n_wanted: int, max_new_tokens: int
    ) -> int:
        """Return the pair's own budget, or more where a long question or a chunk takes more.

        As far as the window goes.
        """
        self.check_room(question, max_new_tokens)
        own, window = self.planner.config.budget, self.planner.window
        # At least half of it beside a long question.
        wanted = max(own, n_around + own // 2, n_wanted)
        return wanted if window is None else min(wanted, window - max_new_tokens)

    def check_room(self, question: str, max_new_tokens: int) -> None:
        """Check that the question leaves room for a document, which need not be read for it.

        Args:
            question: The question.
            max_new_tokens: Room for the answer, in positions.

        Raises:
            WindowError: It does not.
        """
        window, processor = self.planner.window, self.planner.processor
        n_around = self.planner.around(question)
        if window is not None and n_around + max_new_tokens >= window:
            raise WindowError(too_long(processor, question, [], n_around, max_new_tokens, window))


def check_question(question: str) -> None:
    """Raise `UserError` unless a question is a text that asks something."""
    if not check_text("question", question).strip():
        raise UserError("`question` is blank; ask something.")


def list_documents(given: Any) -> list[CompressedDocument]:
    """Return one document, or several, as a list.

    Raises:
        UserError: Something else is given.
    """
    documents = [given] if isinstance(given, CompressedDocument) else given
    known = isinstance(documents, list | tuple)
    if not known or not all(isinstance(own, CompressedDocument) for own in documents):
        raise UserError(
            "`documents` must be compressed documents (`model.compress(text)`), one or a list of "
            "them."
        )
    return list(documents)
