"""What a file format is: a name, its suffixes, a reader, and how its bytes tell it."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from e2llm.errors import MissingPackageError


@dataclass(frozen=True)
class Content:
    """What a reader makes of a file that is more than one text.

    Attributes:
        parts: The texts of its pages, sheets, messages ... in order. A part that is a sequence is
            its records (rows, entries, functions), which follow each other as they stand: chunks
            begin where records do.
        unit: What a part is called where it is quoted by its number: "page", "slide", "message".
            None where nobody counts the parts.
        notices: What was not read, was assumed or was replaced; one line each, about the file.
    """

    parts: Sequence[str | Sequence[str]]
    unit: str | None = None
    notices: tuple[str, ...] = ()


# A reader turns (content, encoding or None) into a text, or into `Content`. Formats that state
# their own encoding ignore the argument. The message of a ReadError that it raises starts with the
# verb: `read` puts the file's name before it.
Reader = Callable[[bytes, str | None], str | Content]


@dataclass(frozen=True)
class Format:
    """One kind of file that can be read.

    Attributes:
        name: What people are told.
        suffixes: With their dots, in lower case.
        read: Its reader.
        first_bytes: Every such file begins with one of these; they overrule the suffix.
        looks_like: A closer look at the content. It tells formats with the same first bytes apart;
            where a format has none, it is asked only of what has no suffix, as standard input.

    Example:
        >>> from e2llm.documents.formats import FORMATS, Format
        >>> FORMATS.append(Format("rev", (".rev",), lambda data, encoding: data.decode()[::-1]))
        >>> FORMATS.pop().name
        'rev'
    """

    name: str
    suffixes: tuple[str, ...]
    read: Reader
    first_bytes: tuple[bytes, ...] = ()
    looks_like: Callable[[bytes], bool] | None = None


def import_package(module: str, package: str, suffix: str) -> Any:
    """Import what a reader needs, when it reads; raise `MissingPackageError` where it is absent."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            f"reading {suffix} needs {package}: pip install 'e2llm[documents]'"
        ) from error
