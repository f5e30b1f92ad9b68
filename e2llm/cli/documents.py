"""From names on the command line to texts and documents that were compressed before."""

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING

import e2llm
from e2llm.documents.encodings import Encodings
from e2llm.documents.file_tree import MAX_BYTES, FileTree
from e2llm.documents.names import tell_apart
from e2llm.documents.reading import Source, printable, read
from e2llm.errors import (
    ReadError,
    StaleDocumentError,
    UserError,
)

if TYPE_CHECKING:
    from e2llm import E2LLM, Chunker, CompressedDocument, Library
    from e2llm.documents.entry import Entry

SUFFIX = ".e2llm"
STDIN = ("-", "/dev/stdin")
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def find_trees(names: Sequence[str], max_bytes: int) -> dict[str, FileTree]:
    """Return the folders among names, and the folders that patterns such as `notes/**/*.md` search.

    Where several names are given, the files of each are named with the folder before them.

    Raises:
        UserError: Standard input is named twice.
    """
    if sum(name in STDIN for name in names) > 1:
        raise UserError("`FILE` (=-) stands for standard input, which can be read only once.")
    trees: dict[str, FileTree] = {}
    for name in names:
        if name in STDIN or os.path.isfile(name):
            continue
        if os.path.isdir(name):
            trees[name] = FileTree(name, max_bytes)
        elif glob.has_magic(name) and not os.path.exists(name):
            parts = PurePath(name).parts
            n_plain = next(place for place, part in enumerate(parts) if glob.has_magic(part))
            root = os.path.join(*parts[:n_plain]) if n_plain else "."
            if os.path.isdir(root):
                trees[name] = FileTree(root, max_bytes, "/".join(parts[n_plain:]))
    if len(set(names)) > 1:
        roots = [os.path.abspath(tree.root) for tree in trees.values()]
        for tree, prefix in zip(trees.values(), tell_apart(roots), strict=True):
            tree.prefix = f"{prefix}/"
    return trees


def read_files(
    names: Sequence[str], encodings: Encodings
) -> Iterator["tuple[str, Source | ReadError]"]:
    """Yield each file's name and its text, or why it cannot be read; equal names are told apart."""
    shown = tell_apart([os.path.abspath(name) for name in names])
    for name, own in zip(names, shown, strict=True):
        try:
            source = read(name, encodings.of(name))
            if source.name != own and name not in STDIN:
                source = replace(source, name=printable(own))
            yield own, source
        except ReadError as error:
            yield own, error


def gather(
    names: Sequence[str],
    encodings: Encodings,
    library: "Library",
    max_bytes: int = MAX_BYTES,
) -> list["Source | CompressedDocument | FileTree | str"]:
    """Find what each name stands for, before anything slow.

    Returns:
        For each name a text, a folder, a compressed file, or the name of a stored document.

    Raises:
        ReadError: A name is neither a readable file nor stored.
    """
    trees = find_trees(names, max_bytes)
    # A file goes before a stored document of the same name, and that before a pattern.
    no_files = {name for name in names if name not in STDIN and not os.path.exists(name)}
    catalogue = library.catalogue() if no_files else None
    stored = {name for name in no_files if catalogue is not None and catalogue.find(name)}
    plain = [
        name
        for name in names
        if name not in stored and name not in trees and not name.endswith(SUFFIX)
    ]
    texts: dict[str, Source] = {}
    for name, (_, source) in zip(plain, read_files(plain, encodings), strict=True):
        if isinstance(source, ReadError):
            raise _missing(name, source)
        texts[name] = source
    found: list[Source | CompressedDocument | FileTree | str] = []
    for place, name in enumerate(names):
        if name in trees and name in names[:place]:
            continue  # a folder that is named twice is one
        if name in stored:
            found.append(name)
        elif name in texts:
            found.append(texts[name])
        else:
            found.append(trees[name] if name in trees else e2llm.CompressedDocument.load(name))
    return found


def load_found(
    found: Sequence["Source | CompressedDocument | FileTree | str"],
    library: "Library",
    fingerprint: str,
) -> list["Source | CompressedDocument | FileTree"]:
    """Load the stored documents among what `gather` found, and check who made the compressed ones.

    Raises:
        StaleDocumentError: Another model made a document.
    """
    stored = _load_stored([item for item in found if isinstance(item, str)], library, fingerprint)
    items = [stored[item] if isinstance(item, str) else item for item in found]
    for item in items:
        if not isinstance(item, (Source, FileTree)):
            item.check_fingerprint(fingerprint)
    return items


def parse_ratio(ratio: str | None) -> float | str | None:
    """Turn what was typed into a ratio."""
    if ratio is None:
        return None
    from e2llm.checks import check_ratio

    return check_ratio(ratio)


def parse_bytes(argument: str, size: str, otherwise: str = "") -> int:
    """Turn a size as people type it into bytes.

    Args:
        argument: What the user called it.
        size: What the user typed.
        otherwise: What else it may be.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", size.strip(), re.IGNORECASE)
    if match is None:
        raise UserError(
            f"`{argument}` (={size}) must be a number of bytes such as 500M or 2G{otherwise}."
        )
    return int(float(match[1]) * _UNITS[match[2].upper()])


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
    entries: dict[str, Entry] = {}
    for name in names:
        made = [entry for entry in catalogue.find(name) if entry.fingerprint == fingerprint]
        entries |= {name: made[0]} if made else {}
    here = {entry.key for entry in library.use([entry.key for entry in entries.values()])}
    loaded: dict[str, CompressedDocument] = {}
    for name in names:
        entry = entries.get(name)
        document = library.read(entry) if entry and entry.key in here else None
        if document is None:
            raise StaleDocumentError(
                f"{name!r} is stored, but was compressed by another model than this one; compress "
                "its file again with this model."
            )
        loaded[name] = document
    return loaded


def _missing(name: str, error: ReadError) -> ReadError:
    if name in STDIN or os.path.exists(name):
        return error
    return ReadError(
        f"{str(error).removesuffix('.')}, or name a stored document (`e2llm library list`)."
    )
