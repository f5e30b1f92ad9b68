"""A document as its soft tokens: read once, to be asked again and again.

It holds the soft tokens, one sentence embedding per chunk (it ranks chunks for *expand*), the spans
and the text itself. The number of soft tokens may differ from chunk to chunk; nothing here assumes
one ratio per document.
"""

import hashlib
import os
from bisect import bisect_right
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from e2llm.chunking.chunker import Chunker, Span
from e2llm.documents.atomic import write_atomically
from e2llm.documents.document_file import FORMAT, corrupt, read_file, serialize, text_sha256
from e2llm.documents.source import Source, page_at
from e2llm.documents.words import WordIndex
from e2llm.errors import StaleDocumentError, UserError

# Of a text with more unknown letters it is said that the encoder cannot read it.
MOST_UNKNOWN = 0.2


@dataclass(frozen=True)
class Chunk:
    """A piece of a document with its exact place.

    Attributes:
        start, end: Offsets in the document's text, in characters.
        n_tokens: Decoder tokens of the text.
        n_soft: Soft tokens that stand for it.
        page: 1-based page that it starts on, where the document has pages.
        unit: What a page is called.
    """

    text: str
    start: int
    end: int
    index: int
    n_tokens: int
    n_soft: int
    page: int | None = None
    unit: str = "page"


@dataclass(frozen=True, eq=False)
class CompressedDocument:
    """Soft tokens, spans and text of one document, with its model's fingerprint.

    Attributes:
        soft_tokens: (n_soft, d_dec), in the order of the chunks.
        embeddings: (n_chunks, d_enc), the encoder's sentence embedding of each chunk.
        spans: (n_chunks, 2) character offsets, int64.
        n_soft_per_chunk: (n_chunks,) int64.
        n_tokens_per_chunk: (n_chunks,) int64, decoder tokens of each chunk's text.
        fingerprint: The model's; reading it with another model raises `StaleDocumentError`.
        ratio: What was asked: text tokens per soft token, or "chunk" for one soft token per chunk.
        window: Chunks that the encoder read together (late chunking); 1 is each alone.
        page_starts: Offset of each page's first character, empty where there are no pages.
        unit: What a page is called: "page", "slide", "message" ...
        notices: What was not read of its file, was assumed or was replaced; one line each.
        chunker: What cut it, or None where a plugged-in callable did.
        unknown_share: Share of the text's letters that the encoder's tokenizer does not know.

    Example:
        >>> document = model.compress(text, name="report")  # doctest: +SKIP
        >>> document.save("report.e2llm")  # doctest: +SKIP
        >>> CompressedDocument.load("report.e2llm").n_soft == document.n_soft  # doctest: +SKIP
        True
    """

    name: str
    text: str
    soft_tokens: torch.Tensor
    embeddings: torch.Tensor
    spans: np.ndarray
    n_soft_per_chunk: np.ndarray
    n_tokens_per_chunk: np.ndarray
    fingerprint: str
    ratio: float | str
    window: int = 1
    page_starts: tuple[int, ...] = field(default=())
    chunker: Chunker | None = None
    unknown_share: float = 0.0
    unit: str = "page"
    notices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check what a file from elsewhere could claim.

        Raises:
            ValueError: The parts do not fit each other.
        """
        n_chunks = len(self.spans)
        counts = (self.n_soft_per_chunk, self.n_tokens_per_chunk)
        fits = (
            self.soft_tokens.ndim == self.embeddings.ndim == 2
            and all(len(part) == n_chunks for part in (self.embeddings, *counts))
            and int(self.n_soft_per_chunk.sum()) == len(self.soft_tokens)
            and all((count >= 0).all() for count in counts)
            and self.spans.shape == (n_chunks, 2)
            and (self.spans >= 0).all()
            and (self.spans[:, 0] < self.spans[:, 1]).all()
            and (self.spans[:, 1] <= len(self.text)).all()
            # In parts, for the check takes twice the memory of what it checks.
            and all(
                part.isfinite().all()
                for tensor in (self.soft_tokens, self.embeddings)
                for part in tensor.split(4096)
            )
        )
        if not fits:
            raise ValueError(
                f"`CompressedDocument` {self.name!r}: text, spans, counts, soft tokens and "
                "embeddings do not fit each other."
            )

    @cached_property
    def chunks(self) -> list[Chunk]:
        """The chunks in order."""
        return [
            Chunk(
                text=self.text[start:end],
                start=start,
                end=end,
                index=index,
                n_tokens=int(self.n_tokens_per_chunk[index]),
                n_soft=int(self.n_soft_per_chunk[index]),
                page=page_at(self.page_starts, start),
                unit=self.unit,
            )
            for index, (start, end) in enumerate(self.spans.tolist())
        ]

    @cached_property
    def words(self) -> WordIndex:
        """Which words each chunk holds; ranks chunks beside their embeddings."""
        return WordIndex.build(self.text, self.spans)

    @property
    def n_chunks(self) -> int:
        """Number of chunks."""
        return len(self.spans)

    @property
    def n_soft(self) -> int:
        """Decoder positions that the document takes."""
        return len(self.soft_tokens)

    @property
    def n_tokens(self) -> int:
        """Decoder tokens of its chunks; what overlaps counts once per chunk that holds it."""
        return int(self.n_tokens_per_chunk.sum())

    @property
    def ratio_got(self) -> float:
        """Text tokens per soft token that were reached over the whole document."""
        return self.n_tokens / self.n_soft

    @property
    def ratio_note(self) -> str | None:
        """Why the ratio got is more than 5 % off the ratio asked; None where it is not."""
        if self.ratio == "chunk" or abs(self.ratio_got / float(self.ratio) - 1) <= 0.05:
            return None
        # In a short document less than one soft token is more than these 5 %.
        if abs(self.n_tokens / float(self.ratio) - self.n_soft) < 1:
            why = "the document is too short to come closer"
        elif self.ratio_got < float(self.ratio):
            why = (
                "a chunk takes at least one soft token and holds "
                f"{self.n_tokens / self.n_chunks:.0f} tokens on average; use larger chunks"
            )
        else:
            why = "a chunk takes at most one soft token per token that the encoder reads"
        return (
            f"asked for {self.ratio:g} text tokens per soft token, got {self.ratio_got:.1f}: {why}."
        )

    @property
    def unknown_note(self) -> str | None:
        """That the encoder cannot read the text, where it knows less than 80 % of its letters."""
        if self.unknown_share <= MOST_UNKNOWN:
            return None
        return (
            f"the encoder does not know {self.unknown_share:.0%} of the letters of {self.name!r}: "
            "its soft tokens say little, and its chunks are found by their words alone."
        )

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the text in UTF-8."""
        return text_sha256(self.text)

    @cached_property
    def key(self) -> str:
        """Digest of text, model, chunking, window and ratio: what the document is stored under."""
        return document_key(self.sha256, self.fingerprint, self.spans, self.window, self.ratio)

    def renamed(self, name: str) -> "CompressedDocument":
        """Return the document under another name."""
        return self._replaced(name=name)

    def of_source(self, source: Source) -> "CompressedDocument":
        """Return the document as that of another file with the same text."""
        return self._replaced(
            name=source.name,
            page_starts=source.page_starts,
            unit=source.unit,
            notices=source.notices,
        )

    def source(self, more: str = "") -> Source:
        """Return its text, with `more` at the end, as the source that it was made of."""
        text = self.text + more
        return Source(self.name, text, self.page_starts, self.unit, notices=self.notices)

    def _replaced(self, **parts: Any) -> "CompressedDocument":
        if all(getattr(self, part) == value for part, value in parts.items()):
            return self
        other = replace(self, **parts)
        # What was counted and digested of the text holds for it too.
        kept = ("words", "sha256", "key")
        vars(other).update({part: vars(self)[part] for part in kept if part in vars(self)})
        return other

    def check_fingerprint(self, fingerprint: str) -> None:
        """Raise `StaleDocumentError` unless the model with this fingerprint made the document."""
        if self.fingerprint != fingerprint:
            raise StaleDocumentError(
                f"`documents`: {self.name!r} was compressed by another model "
                f"({self.fingerprint[:12]}, this one is {fingerprint[:12]}); compress its "
                "text again with this model."
            )

    def check_width(self, d_dec: int) -> None:
        """Raise `UserError` unless the soft tokens are as wide as the decoder's embeddings."""
        if (width := self.soft_tokens.shape[1]) != d_dec:
            raise UserError(
                f"`documents`: {self.name!r} has soft tokens of width {width}, and the decoder's "
                f"is {d_dec}; compress it again."
            )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write one safetensors file: to a temporary name beside it, synced, then renamed.

        Returns:
            The path.

        Raises:
            OSError: The disk is full or the folder is read-only; the path then holds what it held
                before.
        """
        path = Path(path)
        write_atomically(path, self.serialize())
        return path

    def serialize(self) -> bytes:
        """Return the bytes of the file that `save` writes."""
        tensors = {
            "soft_tokens": self.soft_tokens.contiguous(),
            "embeddings": self.embeddings.contiguous(),
            "spans": torch.from_numpy(self.spans),
            "n_soft_per_chunk": torch.from_numpy(self.n_soft_per_chunk),
            "n_tokens_per_chunk": torch.from_numpy(self.n_tokens_per_chunk),
            # (n_bytes,); not in the header, which is read alone and often
            "text": torch.from_numpy(np.frombuffer(self.text.encode("utf-8"), np.uint8).copy()),
            **self.words.tensors(),
        }
        header = {
            "name": self.name,
            "sha256": self.sha256,
            "fingerprint": self.fingerprint,
            "ratio": self.ratio,
            "window": self.window,
            "page_starts": list(self.page_starts),
            "unit": self.unit,
            "notices": list(self.notices),
            "chunker": self.chunker and [self.chunker.size, self.chunker.overlap],
            "n_chunks": self.n_chunks,
            "n_soft": self.n_soft,
            "n_tokens": self.n_tokens,
            "unknown_share": round(self.unknown_share, 4),
            "key": self.key,
        }
        return serialize(header, tensors)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "CompressedDocument":
        """Read a file that `save` wrote.

        Raises:
            ReadError: There is no such file, or it is not a compressed document.
            CorruptDocumentError: It is truncated or damaged.
        """
        header, tensors = read_file(path)
        try:
            document = cls(
                name=header["name"],
                text=tensors["text"].numpy().tobytes().decode("utf-8"),
                soft_tokens=tensors["soft_tokens"],
                embeddings=tensors["embeddings"],
                spans=tensors["spans"].numpy(),
                n_soft_per_chunk=tensors["n_soft_per_chunk"].numpy(),
                n_tokens_per_chunk=tensors["n_tokens_per_chunk"].numpy(),
                fingerprint=header["fingerprint"],
                ratio=header["ratio"],
                window=header["window"],
                page_starts=tuple(header["page_starts"]),
                chunker=header["chunker"] and Chunker(*header["chunker"]),
                # A file of an earlier version says nothing of it.
                unknown_share=float(header.get("unknown_share", 0.0)),
                unit=str(header.get("unit", "page")),
                notices=tuple(map(str, header.get("notices", ()))),
            )
            # A file of an earlier version has none; then they are counted when they are asked for.
            if (words := WordIndex.of_tensors(tensors, document.n_chunks)) is not None:
                vars(document)["words"] = words
            return document
        except (KeyError, TypeError, ValueError) as error:
            raise corrupt(path) from error


def document_key(
    sha256: str, fingerprint: str, spans: np.ndarray | list[Span], window: int, ratio: float | str
) -> str:
    """Digest what decides a document's soft tokens: text, model, chunking, window and ratio."""
    # A ratio of 8 and one of 8.0 are the same.
    digest = hashlib.sha256(
        f"{FORMAT} {sha256} {fingerprint} {window} "
        f"{ratio if isinstance(ratio, str) else float(ratio)} ".encode()
    )
    digest.update(np.asarray(spans, np.int64).tobytes())
    return digest.hexdigest()


def pages_between(page_starts: tuple[int, ...], start: int, end: int) -> tuple[int, int] | None:
    """Return the first and last 1-based page of the characters from `start` to `end`.

    None where there are no pages.
    """
    if not page_starts:
        return None
    return max(1, bisect_right(page_starts, start)), max(1, bisect_right(page_starts, end - 1))
