"""The floor: the question without the document.

What is answered here was known, guessed, or said by the question itself.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from e2llm.methods.base import Method, Prompt


@dataclass
class NoDocument(Method):
    """Answer without the document."""

    role: ClassVar[str] = "floor"

    def keep(self, text: str) -> None:
        """Keep nothing."""

    def prompt(self, kept: Any, question: str, max_new_tokens: int) -> Prompt:
        """Return the question alone."""
        return self.text_prompt([], question, max_new_tokens)

    def positions(self, n_tokens: int) -> int:
        """Return none."""
        return 0
