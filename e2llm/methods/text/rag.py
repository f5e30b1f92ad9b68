"""Retrieval-augmented generation (RAG) at equal budget: the encoder's best chunks, as text.

Encoder and chunks are E2LLM's, and so is the number of decoder positions.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from e2llm.documents.compressed import CompressedDocument
from e2llm.methods.base import NAME, Method, Prompt, check_window
from e2llm.methods.text.base import budget, predict_budget
from e2llm.reading.plan import Plan

# Joined passages may have fewer tokens than their chunks one by one, by far less than this.
SPARE = 1.5


@dataclass
class Rag(Method):
    """Read the chunks that the encoder ranks first for the question, in the order of the document.

    Attributes:
        ratio, expand: Of the E2LLM whose decoder positions it may use; None the pair's own. A ratio
            of 1 reads every chunk.
    """

    ratio: float | str | None = None
    expand: int | None = None
    role: ClassVar[str] = "equal budget"
    encodes: ClassVar[bool] = True

    def keep(self, text: str) -> tuple[CompressedDocument, int]:
        """Embed the chunks, and count the soft tokens that E2LLM would have.

        Those made here, one a chunk, are not used.
        """
        # An untrained pair that expands chunks leaves its soft tokens out of the prompt.
        soft = self.pair.config.trained or self._expand == 0
        n_soft = budget(self.pair, text, self.ratio, 0) if soft else 0
        return self.pair.compress(text, NAME, "chunk"), n_soft

    def prompt(self, kept: Any, question: str, max_new_tokens: int) -> Prompt:
        """Return the best chunks, and one at the least, with the question after them.

        They take no more positions than E2LLM's soft tokens and expanded chunks.
        """
        document, n_soft = kept
        planner = self.pair.reader.planner
        ranked = self.pair.rank(question, [document])
        wanted = Plan((document,), soft=False, expanded=tuple(ranked))
        # What E2LLM's expanded chunks take as text, and its soft tokens beside them.
        allowed = len(planner.write(question, wanted.best(self._expand)).ids) + n_soft
        if self.window is not None:
            allowed = min(allowed, self.window - max_new_tokens)
        # Only as many chunks are tried as could fit, or the whole document would be tokenised.
        n_tokens = document.n_tokens_per_chunk[[chunk.chunk for chunk in ranked]].cumsum()
        n_most = 1 + int(np.searchsorted(n_tokens, SPARE * allowed))
        prompt = planner.fit(question, wanted.best(n_most), allowed, least=1).prompt
        check_window(len(prompt.ids) + max_new_tokens, self.window)
        return prompt

    def positions(self, n_tokens: int) -> int:
        """Predict E2LLM's positions."""
        return min(n_tokens, predict_budget(self.pair, n_tokens, self.ratio, self.expand))

    @property
    def _expand(self) -> int:
        return self.pair.config.expand if self.expand is None else self.expand
