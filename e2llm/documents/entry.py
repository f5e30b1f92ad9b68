"""What a library knows of one document without reading its tensors."""

import os
import unicodedata
from dataclasses import dataclass, fields
from pathlib import Path

from e2llm.documents.document_file import read_header
from e2llm.errors import CorruptDocumentError, ReadError, UserError


@dataclass(frozen=True)
class Entry:
    """What the registry knows of one document, under one of its names.

    Attributes:
        key: What the document is stored under, 64 hexadecimal digits.
        name: What it is called here; several documents may share a name, and one that several
            files hold has an entry for the name of each.
        n_bytes: Size of its file.
        created_s: When it was put here, in seconds since 1970.
        used_s: When it was last put or got.
    """

    key: str
    name: str
    sha256: str
    fingerprint: str
    ratio: float | str
    window: int
    n_chunks: int
    n_soft: int
    n_tokens: int
    n_bytes: int
    created_s: float
    used_s: float


COLUMNS = [field.name for field in fields(Entry)]
_DAMAGED = {
    "name": "",
    "sha256": "",
    "fingerprint": "",
    "ratio": "chunk",
    "window": 1,
    "n_chunks": 0,
    "n_soft": 0,
    "n_tokens": 0,
}


def describe(path: Path, key: str, created_s: float | None = None) -> Entry:
    """Make an entry from a document's file, even a damaged one, so that it can be seen and deleted.

    Raises:
        OSError: The file cannot be opened.
    """
    try:
        header = read_header(path)
    except (ReadError, CorruptDocumentError):
        header = {}
    with path.open("rb") as file:
        state = os.fstat(file.fileno())
    # A whole file under the name of another document counts as damaged too.
    if header.get("key") != key:
        header = _DAMAGED
    about = {column: header[column] for column in COLUMNS if column in header}
    name = header["name"] if _is_name(header["name"]) else f"damaged-{key[:12]}"
    created_s = created_s or state.st_mtime
    return Entry(
        **about | {"key": key, "name": name},
        n_bytes=state.st_size,
        created_s=created_s,
        used_s=created_s,
    )


def check_name(name: str, argument: str) -> None:
    """Raise `UserError` unless a document may be called `name`: one line, printable, not empty."""
    if not _is_name(name):
        raise UserError(
            f"`{argument}` (={name!r}) must be one line of printable characters, and not empty; "
            "choose another."
        )


def _is_name(name: str) -> bool:
    # Not `str.isprintable`: it refuses the narrow space in macOS's screenshot names and the joiners
    # in emoji.
    return bool(name.strip()) and not any(
        unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in name
    )
