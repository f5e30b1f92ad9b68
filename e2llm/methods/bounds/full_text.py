"""The ceiling: the decoder reads the whole document as text, as far as its window goes."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from e2llm.methods.base import NAME, Method, Prompt
from e2llm.model import bases
from e2llm.reading.prompt import Passage


@dataclass
class FullText(Method):
    """Read the whole document as text.

    The decoder's cache of it serves the questions after the first.
    """

    role: ClassVar[str] = "ceiling"

    def keep(self, text: str) -> list[Passage]:
        """Keep the text."""
        return [Passage(NAME, text, 0, len(text), None)]

    def prompt(self, kept: Any, question: str, max_new_tokens: int) -> Prompt:
        """Return the text with the question after it."""
        return self.text_prompt(kept, question, max_new_tokens)

    def positions(self, n_tokens: int) -> int:
        """Return as many as the text has tokens."""
        return n_tokens


@dataclass
class BaseFullText(FullText):
    """Read the whole document with the decoder as it was before any training with the encoder."""

    role: ClassVar[str] = ""

    @cached_property
    def decoder(self) -> Any:
        """The decoder that the pair's configuration names, without LoRA."""
        return bases.load_untrained_decoder(self.pair.config, self.pair.base.decoder)

    def __post_init__(self) -> None:
        bases.check_named(self.pair.config)
