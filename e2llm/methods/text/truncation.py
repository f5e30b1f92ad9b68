"""Truncation at equal budget: as much of the text as E2LLM has decoder positions for it."""

from dataclasses import dataclass
from typing import Any, ClassVar

from e2llm.checks import check_choice
from e2llm.methods.base import NAME, Method, Prompt
from e2llm.methods.text.base import budget, predict_budget
from e2llm.reading.prompt import Passage

KEEPS = ("head", "tail", "ends")


@dataclass
class Truncation(Method):
    """Read a part of the document as text.

    Attributes:
        keeps: "head", "tail", or "ends": half the budget each, the middle cut out (LongBench's way
            with documents beyond a window).
        ratio, expand: Of the E2LLM whose decoder positions it may use; None the pair's own.
    """

    keeps: str = "ends"
    ratio: float | str | None = None
    expand: int | None = None
    role: ClassVar[str] = "equal budget"

    def __post_init__(self) -> None:
        check_choice("keeps", self.keeps, KEEPS)

    def keep(self, text: str) -> list[Passage]:
        """Cut the text."""
        ids = self.pair.processor.text_ids(text)
        n_kept = budget(self.pair, text, self.ratio, self.expand)
        if n_kept >= len(ids):
            return [Passage(NAME, text, 0, len(text), None)]
        n_tail = {"head": 0, "tail": n_kept, "ends": n_kept // 2}[self.keeps]
        head, tail = self._text(ids[: n_kept - n_tail]), self._text(ids[len(ids) - n_tail :])
        passages = [
            Passage(NAME, head, 0, len(head), None),
            Passage(NAME, tail, len(text) - len(tail), len(text), None),
        ]
        return [passage for passage in passages if passage.text]

    def prompt(self, kept: Any, question: str, max_new_tokens: int) -> Prompt:
        """Return what was kept, with the question after it."""
        return self.text_prompt(kept, question, max_new_tokens)

    def positions(self, n_tokens: int) -> int:
        """Predict E2LLM's positions."""
        return min(n_tokens, predict_budget(self.pair, n_tokens, self.ratio, self.expand))

    def _text(self, ids: list[int]) -> str:
        tokenizer = self.pair.processor.tokenizer
        # A cut through a character of several tokens leaves a sign for what is missing.
        return tokenizer.decode(ids, clean_up_tokenization_spaces=False).strip("\ufffd")
