"""From names on the command line to texts and documents that were compressed before."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import e2llm
from e2llm.documents.reading import Source, read
from e2llm.errors import (
    ReadError,
    StaleDocumentError,
    UserError,
)

if TYPE_CHECKING:
    from e2llm import E2LLM, Chunker, CompressedDocument, Library

SUFFIX = ".e2llm"
STDIN = ("-", "/dev/stdin")


def gather(
    names: Sequence[str], encoding: str | None, library: "Library"
) -> list["Source | CompressedDocument | str"]:
    """Find what each name stands for, before anything slow.

    Returns:
        For each name a text, a compressed file, or the name of a stored document.

    Raises:
        ReadError: A name is neither a readable file nor stored.
    """
    found: list[Source | CompressedDocument | str] = []
    if sum(name in STDIN for name in names) > 1:
        raise UserError("`FILE` (=-) stands for standard input, which can be read only once.")
    # A file goes before a stored document of the same name.
    no_files = {name for name in names if name not in STDIN and not os.path.exists(name)}
    catalogue = library.catalogue() if no_files else None
    for name in names:
        if catalogue is not None and name in no_files and catalogue.find(name):
            found.append(name)
        elif name.endswith(SUFFIX):
            found.append(e2llm.CompressedDocument.load(name))
        else:
            found.append(_read_file(name, encoding))
    return found


def load_found(
    found: Sequence["Source | CompressedDocument | str"], library: "Library", fingerprint: str
) -> list["Source | CompressedDocument"]:
    """Load the stored documents among what `gather` found, and check who made the compressed ones.

    Raises:
        StaleDocumentError: Another model made a document.
    """
    stored = _load_stored([item for item in found if isinstance(item, str)], library, fingerprint)
    items = [stored[item] if isinstance(item, str) else item for item in found]
    for item in items:
        if not isinstance(item, Source):
            item.check_fingerprint(fingerprint)
    return items


def parse_ratio(ratio: str | None) -> float | str | None:
    """Turn what was typed into a ratio."""
    if ratio is None:
        return None
    from e2llm.checks import check_ratio

    return check_ratio(ratio)


def parse_chunker(
    model: "E2LLM", chunk_chars: int | None, overlap_chars: int | None
) -> "Chunker | None":
    """Turn what was typed into a chunker; None for the pair's own."""
    if chunk_chars is None and overlap_chars is None:
        return None
    from e2llm import Chunker

    own = model.chunker
    return Chunker(
        own.size if chunk_chars is None else chunk_chars,
        own.overlap if overlap_chars is None else overlap_chars,
    )


def describe(document: "CompressedDocument", seconds: float) -> str:
    """Return one line on what a document became."""
    how = f"in {seconds:.1f} s" if seconds else "read before"
    return (
        f"{document.name}: {document.n_tokens:,} tokens of text, {document.n_soft:,} soft tokens "
        f"(ratio {document.ratio_got:.1f}), {how}"
    )


def _load_stored(
    names: Sequence[str], library: "Library", fingerprint: str
) -> dict[str, "CompressedDocument"]:
    """Return the newest stored document of each name that this model made."""
    if not names:
        return {}
    catalogue = library.catalogue()
    keys: dict[str, str] = {}
    for name in names:
        made = [entry.key for entry in catalogue.find(name) if entry.fingerprint == fingerprint]
        keys |= {name: made[0]} if made else {}
    entries = {entry.key: entry for entry in library.use(list(keys.values()))}
    loaded: dict[str, CompressedDocument] = {}
    for name in names:
        entry = entries.get(keys.get(name, ""))
        document = library.read(entry) if entry else None
        if document is None:
            raise StaleDocumentError(
                f"{name!r} is stored, but was compressed by another model than this one; compress "
                "its file again with this model."
            )
        loaded[name] = document
    return loaded


def _read_file(name: str, encoding: str | None) -> Source:
    try:
        return read(name, encoding)
    except ReadError as error:
        if name not in STDIN and not os.path.exists(name):
            raise ReadError(
                f"{str(error).removesuffix('.')}, or name a stored document (`e2llm library list`)."
            ) from error
        raise
