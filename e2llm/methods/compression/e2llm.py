"""E2LLM: soft tokens of encoder and adapter, and the chunks that the question needs as text.

Without the text it is the paper's section 3.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from e2llm.checks import check_choice
from e2llm.chunking.chunker import Chunker, SpanMaker
from e2llm.chunking.semantic import cut_sentences
from e2llm.documents.compressed import CompressedDocument
from e2llm.errors import UserError
from e2llm.methods.base import NAME, Method, Prompt, Reading
from e2llm.methods.text.base import predict_positions


@dataclass
class SoftTokenReading(Method):
    """Read a document as soft tokens.

    Attributes:
        ratio: Text tokens per soft token; "chunk" is one soft token per chunk (k = 1, the paper);
            None the pair's own, or the next that fits.
        expand: Chunks that are expanded to text; 0 is the paper, None the pair's own.
        chunk_chars: Longest chunk (512 in the paper); None the pair's own.
        overlap_chars: Characters that a chunk repeats of the one before (0 in the paper); None the
            pair's own.
        window_chunks: Chunks that the encoder reads together (late chunking); None the pair's own.
        chunking: "fixed" cuts as `Chunker` does (the paper), "semantic" where neighbouring
            sentences part in meaning.
    """

    ratio: float | str | None = None
    expand: int | None = None
    chunk_chars: int | None = None
    overlap_chars: int | None = None
    window_chunks: int | None = None
    chunking: str = "fixed"
    encodes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_choice("chunking", self.chunking, ["fixed", "semantic"])
        if self.chunking == "semantic" and self.overlap_chars:
            raise UserError(
                f"`overlap_chars` (={self.overlap_chars}) must be left out where `chunking` "
                "is semantic: its chunks do not overlap."
            )
        own = self.pair.chunker
        self._size = own.size if self.chunk_chars is None else self.chunk_chars
        overlap = own.overlap if self.overlap_chars is None else self.overlap_chars
        self._chunker: SpanMaker
        if self.chunking == "semantic":
            self._chunker = self.pair.semantic_chunker(self._size)
        else:
            self._chunker = Chunker(self._size, overlap)

    @property
    def chunker(self) -> SpanMaker:
        """The pair's own, or another as the hyper-parameters have it."""
        return self._chunker

    def read(self, text: str) -> Reading:
        """Read a document, once.

        Where the encoder had to read its sentences to cut it, that counts too.
        """
        reading = super().read(text)
        if self.chunking == "semantic":
            sentences = partial(cut_sentences, size=self._size)
            flops = reading.flops + self.encoding_flops(text, sentences)
            reading = replace(reading, flops=flops)
        return reading

    def keep(self, text: str) -> CompressedDocument:
        """Compress the document."""
        ratio = self.pair.fit_ratio(
            [text], expand=self.expand, ratio=self.ratio, chunker=self.chunker
        )
        return self.pair.compress(
            text, NAME, ratio, chunker=self.chunker, window=self.window_chunks
        )

    def prompt(self, kept: Any, question: str, max_new_tokens: int) -> Prompt:
        """Return the prompt that `E2LLM.ask` would make."""
        expand = self.pair.config.expand if self.expand is None else self.expand
        return self.pair.plan(question, [kept], expand, max_new_tokens=max_new_tokens).prompt

    def positions(self, n_tokens: int) -> int:
        """Predict the soft tokens and the expanded text."""
        return predict_positions(self.pair, n_tokens, self.ratio, self.expand, self.chunk_chars)
