"""Compressed documents without a model behind them, and a look at where they are stored."""

import dataclasses
from pathlib import Path

import numpy as np
import torch

from e2llm.chunking.chunker import Chunker
from e2llm.documents.compressed import CompressedDocument

TEXT = (
    "The council met at noon. Ann paid, Bo did not. 会议在中午举行。👩‍👩‍👧 "
    "Nobody else came to the meeting. " * 2
)


def make_document(
    text: str = TEXT,
    name: str = "report",
    *,
    fingerprint: str = "f" * 64,
    ratio: float | str = 8.0,
    window: int = 1,
    page_starts: tuple[int, ...] = (),
    chunk_chars: int = 50,
    dtype: torch.dtype = torch.bfloat16,
    d_dec: int = 8,
) -> CompressedDocument:
    """Make a document of random soft tokens, which are the same for the same text.

    Their number differs from chunk to chunk.
    """
    generator = torch.Generator().manual_seed(len(text))
    spans = np.array(Chunker(chunk_chars)(text), np.int64).reshape(-1, 2)
    n_soft = np.arange(len(spans), dtype=np.int64) % 3 + 1
    return CompressedDocument(
        name=name,
        text=text,
        soft_tokens=torch.randn(int(n_soft.sum()), d_dec, generator=generator).to(dtype),
        embeddings=torch.randn(len(spans), 4, generator=generator),
        spans=spans,
        n_soft_per_chunk=n_soft,
        n_tokens_per_chunk=n_soft * 8,
        fingerprint=fingerprint,
        ratio=ratio,
        window=window,
        page_starts=page_starts,
    )


def same(left: CompressedDocument, right: CompressedDocument) -> bool:
    """Say whether two documents are equal in all fields, to the bit and the type."""

    def plain(value: object) -> object:
        if isinstance(value, torch.Tensor):
            return value.dtype, value.shape, value.contiguous().view(torch.uint8).numpy().tobytes()
        return (
            (value.dtype, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value
        )

    fields = [field.name for field in dataclasses.fields(CompressedDocument)]
    return all(plain(getattr(left, field)) == plain(getattr(right, field)) for field in fields)


def numbered(number: int, d_dec: int = 8) -> CompressedDocument:
    return make_document(
        f"Document {number} tells its number. " * 5, f"document {number}", d_dec=d_dec
    )


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def document_files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix == ".e2llm" and not path.name.startswith(".")
    )
