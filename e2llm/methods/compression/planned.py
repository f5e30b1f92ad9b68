"""A reading plan by budget: the best chunks as text, the next ones fine, the rest coarse."""

from dataclasses import dataclass
from typing import Any, ClassVar

from e2llm.documents.compressed import CompressedDocument
from e2llm.methods.base import AROUND, NAME, Method, Prompt, check_window
from e2llm.reading.budget import Allocator, Shares


@dataclass
class PlannedReading(Method):
    """Read a document in the forms that a plan gives its chunks for each question.

    Attributes:
        budget: Decoder positions of the prompt; None the pair's own.
        text: Share of them for chunks as text, where not all fits as text.
        fine: Share of them for chunks as fine soft tokens; coarse ones fill the rest.
        fine_ratio: Text tokens per fine soft token.
        coarse_ratio: Text tokens per coarse one, or "chunk"; None the pair's own.
    """

    budget: int | None = None
    text: float = 1.0
    fine: float = 0.0
    fine_ratio: float = 2
    coarse_ratio: float | str | None = None
    whole: ClassVar[bool] = False
    role: ClassVar[str] = "equal budget"
    encodes: ClassVar[bool] = True

    def keep(self, text: str) -> CompressedDocument:
        """Compress the document, coarsely."""
        return self.pair.compress(text, NAME, self.coarse_ratio, chunker=self.chunker)

    def prompt(self, kept: Any, question: str, max_new_tokens: int) -> Prompt:
        """Return the prompt of the plan."""
        reader = self.pair.reader
        shares = Shares(self.text, self.fine, self.fine_ratio)
        allocator = Allocator(reader.planner, reader.compressor.soften, shares)
        ranked = reader.rank(question, [kept])
        budget = self._budget
        if self.window is not None:
            budget = min(budget, self.window - max_new_tokens)
        prompt = allocator.plan(question, [kept], ranked, budget, self.whole).prompt
        check_window(len(prompt.ids) + max_new_tokens, self.window)
        return prompt

    def positions(self, n_tokens: int) -> int:
        """Predict the budget, or the text where it is shorter."""
        room = self._budget if self.window is None else min(self._budget, self.window - AROUND)
        return min(n_tokens, max(1, room - AROUND))

    @property
    def _budget(self) -> int:
        return self.pair.config.budget if self.budget is None else self.budget


@dataclass
class UniformReading(PlannedReading):
    """Read all of a document as soft tokens at one ratio, as fine as the budget allows."""

    whole: ClassVar[bool] = True
