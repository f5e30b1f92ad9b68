"""E2LLM: soft tokens from encoder and adapter, and where asked the chunks that the question needs as text (paper section 3)."""

from dataclasses import dataclass
from typing import Any, ClassVar

from e2llm.chunking import Chunker, SpanMaker
from e2llm.documents.compressed import CompressedDocument
from e2llm.methods.base import NAME, Method, Prompt
from e2llm.methods.budget import predict_positions


@dataclass
class SoftTokenReading(Method):
    """Read a document as soft tokens.

    Attributes:
        ratio: Text tokens per soft token; "chunk" is one soft token per chunk (k = 1, the paper); None the pair's own, or the next that fits.
        expand: Chunks put back as text; 0 is the paper, None the pair's own.
        chunk_chars: Longest chunk (512 in the paper); None the pair's own.
        overlap_chars: Characters that a chunk repeats of the one before (0 in the paper); None the pair's own.
        window_chunks: Chunks that the encoder reads together (late chunking); None the pair's own.
    """

    ratio: float | str | None = None
    expand: int | None = None
    chunk_chars: int | None = None
    overlap_chars: int | None = None
    window_chunks: int | None = None
    encodes: ClassVar[bool] = True

    @property
    def chunker(self) -> SpanMaker:
        """The pair's own, or one with other sizes."""
        own = self.pair.chunker
        return Chunker(own.size if self.chunk_chars is None else self.chunk_chars, own.overlap if self.overlap_chars is None else self.overlap_chars)

    def keep(self, text: str) -> CompressedDocument:
        """Compress the document."""
        ratio = self.pair.fit_ratio([text], expand=self.expand, ratio=self.ratio, chunker=self.chunker)
        return self.pair.compress(text, NAME, ratio, chunker=self.chunker, window=self.window_chunks)

    def prompt(self, kept: Any, question: str, max_new_tokens: int) -> Prompt:
        """Return the prompt that `E2LLM.ask` would make."""
        expand = self.pair.config.expand if self.expand is None else self.expand
        made = self.pair._prompt(question, [kept], expand, max_new_tokens)
        return Prompt(made.ids, made.soft_tokens)

    def positions(self, n_tokens: int) -> int:
        """Predict the soft tokens and the expanded text."""
        return predict_positions(self.pair, n_tokens, self.ratio, self.expand, self.chunk_chars)
