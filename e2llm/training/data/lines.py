"""A file of JSON Lines, plain or gzip, whose objects are read one by one.

Only the places of its lines are kept in memory. A gzip file cannot be entered in the middle, so it
is unpacked once into `$E2LLM_HOME/data`, under the digest of what it holds.
"""

import codecs
import gzip
import hashlib
import json
import os
import shutil
import uuid
import zlib
from array import array
from contextlib import suppress
from pathlib import Path
from typing import Any

from e2llm import environment
from e2llm.errors import E2LLMError, UserError

SUFFIXES = (".jsonl", ".jsonl.gz")
_GZIP = b"\x1f\x8b"


class Lines:
    """The lines of a JSON Lines file that are not blank.

    Attributes:
        path: As given.
        suspect: Index of the first line that does not even look like a JSON object, or None.

    Raises:
        UserError: The file cannot be read, or is a damaged gzip file.
        E2LLMError: It cannot be unpacked, as when the disk is full.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.suspect: int | None = None
        self._plain = _unpacked(self.path)
        self._starts = array("q")  # bytes
        self._numbers = array("q")  # as editors count lines
        try:
            with open(self._plain, "rb") as file:
                start = 0
                for number, line in enumerate(file, start=1):
                    content = line.strip().removeprefix(codecs.BOM_UTF8)
                    if content:
                        if self.suspect is None and not (
                            content.startswith(b"{") and content.endswith(b"}")
                        ):
                            self.suspect = len(self._starts)
                        self._starts.append(start)
                        self._numbers.append(number)
                    start += len(line)
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def __len__(self) -> int:
        return len(self._starts)

    def where(self, index: int) -> str:
        """Return what messages call a line."""
        return f"`{self.path}`, line {self._numbers[index]}"

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Read one object.

        Raises:
            UserError: The line is no JSON object.
        """
        # Opened anew each time: a file that is open has one position, which processes that were
        # forked would share.
        try:
            with open(self._plain, "rb") as file:
                file.seek(self._starts[index])
                line = file.readline()
        except OSError as error:
            raise _unreadable(self.path, error) from error
        try:
            fields = json.loads(line.strip())
        except (ValueError, RecursionError) as error:
            reason = str(error).replace("line 1 column", "column")
            raise UserError(
                f"{self.where(index)} is no JSON ({reason}); write one JSON object a line."
            ) from error
        if not isinstance(fields, dict):
            raise UserError(
                f"{self.where(index)} is a JSON {type(fields).__name__}; write one JSON "
                "object a line."
            )
        return fields


def _unpacked(path: str) -> str:
    """Return a plain copy of a gzip file, and any other file as it is; the first bytes tell."""
    try:
        with open(path, "rb") as file:
            if file.read(len(_GZIP)) != _GZIP:
                return path
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error
    copy = environment.home() / "data" / f"{digest}.jsonl"
    if not copy.exists():
        _unpack(path, copy)
    return str(copy)


def _unpack(path: str, copy: Path) -> None:
    """Unpack a gzip file; the copy is there when it is whole, or not at all."""
    # A name of its own: several processes may unpack the same file at once.
    temporary = copy.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(path) as packed, open(temporary, "xb") as plain:
            shutil.copyfileobj(packed, plain, 2**20)
            plain.flush()
            os.fsync(plain.fileno())
        os.replace(temporary, copy)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(
            f"`{path}` is truncated or damaged ({error}); copy the file again."
        ) from error
    except OSError as error:
        raise E2LLMError(
            f"`{path}` cannot be unpacked into {copy.parent} ({error.strerror or error}); "
            "free some space there, or set E2LLM_HOME to another disk."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _unreadable(path: str, error: OSError) -> UserError:
    return UserError(
        f"`{path}` cannot be read ({error.strerror or error}); name a file of JSON Lines "
        f"({', '.join(SUFFIXES)})."
    )
