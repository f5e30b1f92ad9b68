"""What the files of folders became, so that an unchanged file need not be opened again.

A SQLite file beside the library's registry. It is a cache: where it is lost, damaged or in doubt
the files are read, and what they become is found in the library by its key. Only that a document
came from a folder, which `forget` tells, is known here alone.
"""

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from e2llm.documents.file_tree import TreeFile

FILE = "files.sqlite"
BUSY_TIMEOUT_S = 30.0
# A file that was written so shortly before it was looked at can have been written again since,
# with the same size, within one tick of the file system's clock.
DOUBT_NS = 2 * 10**9
_TABLES = (
    "CREATE TABLE IF NOT EXISTS files (root BLOB, path BLOB, settings TEXT, name TEXT, "
    "n_bytes INTEGER, mtime_ns INTEGER, seen_ns INTEGER, sha256 TEXT, key TEXT, "
    "PRIMARY KEY (root, path, settings)) WITHOUT ROWID",
    # Each name that a folder gave to a document, until it is forgotten.
    "CREATE TABLE IF NOT EXISTS made (root BLOB, key TEXT, name TEXT, "
    "PRIMARY KEY (root, key, name)) WITHOUT ROWID",
)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Row:
    """What one file became.

    Attributes:
        path: The file's path from the folder.
        name: What its document is called.
        n_bytes, mtime_ns: Its size and time of writing, when it was read.
        seen_ns: When it was read, in nanoseconds since 1970.
        sha256: Of its bytes.
        key: Its document's key.
    """

    path: str
    name: str
    n_bytes: int
    mtime_ns: int
    seen_ns: int
    sha256: str
    key: str

    def holds(self, file: TreeFile) -> bool:
        """Tell by size and time alone, without opening it, that a file is what it was."""
        same = (self.n_bytes, self.mtime_ns) == (file.n_bytes, file.mtime_ns)
        return same and self.mtime_ns < self.seen_ns - DOUBT_NS


class FileIndex:
    """The index of the files of one folder, read with certain settings.

    Any number of processes may use it at once; what cannot be read or written is as if nothing
    were known.

    Args:
        library: The library's folder.
        root: The folder.
        settings: All that decides a file's document beside its bytes.
    """

    def __init__(self, library: Path, root: str, settings: str) -> None:
        self.path = library / FILE
        self._root = os.fsencode(os.path.realpath(root))
        self._settings = settings

    def rows(self) -> dict[str, Row]:
        """Return what is known of the folder's files, by path."""

        def read(db: sqlite3.Connection) -> dict[str, Row]:
            found = db.execute(
                "SELECT path, name, n_bytes, mtime_ns, seen_ns, sha256, key FROM files "
                "WHERE root = ? AND settings = ?",
                (self._root, self._settings),
            )
            return {os.fsdecode(row[0]): Row(os.fsdecode(row[0]), *row[1:]) for row in found}

        return self._use(read, {}) if self.path.exists() else {}

    def put(self, rows: Iterable[Row]) -> None:
        """Note what files became."""

        def write(db: sqlite3.Connection) -> None:
            for row in rows:
                path = os.fsencode(row.path)
                about = (row.name, row.n_bytes, row.mtime_ns, row.seen_ns, row.sha256, row.key)
                db.execute(
                    f"INSERT OR REPLACE INTO files VALUES ({', '.join('?' * 9)})",
                    (self._root, path, self._settings, *about),
                )
                db.execute(
                    "INSERT OR IGNORE INTO made VALUES (?, ?, ?)", (self._root, row.key, row.name)
                )

        self._use(write, None)

    def gone(self, exists: Callable[[str], bool]) -> list[tuple[str, str]]:
        """Return (key, name) of the documents that the folder gave and gives no longer.

        Their files are gone, or have become other documents since.

        Args:
            exists: Tells whether a path from the folder is still a file.
        """

        def read(db: sqlite3.Connection) -> list[tuple[str, str]]:
            files = db.execute("SELECT path, key, name FROM files WHERE root = ?", (self._root,))
            kept = {(key, name) for path, key, name in files if exists(os.fsdecode(path))}
            made = db.execute("SELECT key, name FROM made WHERE root = ?", (self._root,))
            return [row for row in made.fetchall() if row not in kept]

        return self._use(read, []) if self.path.exists() else []

    def given_elsewhere(self) -> set[tuple[str, str]]:
        """Return (key, name) of the documents that other folders gave."""

        def read(db: sqlite3.Connection) -> set[tuple[str, str]]:
            return set(db.execute("SELECT key, name FROM made WHERE root != ?", (self._root,)))

        return self._use(read, set()) if self.path.exists() else set()

    def forget(self, documents: Iterable[tuple[str, str]]) -> None:
        """Drop what is known of documents, each a key and a name, and of their files."""

        def write(db: sqlite3.Connection) -> None:
            for key, name in documents:
                for table in ("files", "made"):
                    db.execute(
                        f"DELETE FROM {table} WHERE root = ? AND key = ? AND name = ?",
                        (self._root, key, name),
                    )

        self._use(write, None)

    def _use(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """Do some work as one transaction; a damaged index is begun anew, once."""
        for _ in range(2):
            try:
                with self._opened() as db:
                    return work(db)
            except sqlite3.OperationalError:  # full, locked, read-only
                return otherwise
            except (sqlite3.Error, OSError, UnicodeError):
                with suppress(OSError):
                    self.path.unlink()
        return otherwise

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, BUSY_TIMEOUT_S, isolation_level=None)) as db, db:
            db.execute("BEGIN IMMEDIATE")
            for table in _TABLES:
                db.execute(table)
            yield db


def note(root: str, file: TreeFile, key: str, sha256: str) -> Row | None:
    """Return a row for a file that has just been read; None where it has changed meanwhile.

    Args:
        root: The folder.
        file: As it was found, before it was read.
        key: Its document's key.
        sha256: Of its bytes.
    """
    with suppress(OSError):
        if file.state() == (file.n_bytes, file.mtime_ns):
            path = os.path.relpath(file.path, root)
            about = (file.name, file.n_bytes, file.mtime_ns, time.time_ns(), sha256, key)
            return Row(path, *about)
    return None


def sha256_of(path: str) -> str | None:
    """Return the digest of a file's bytes, read piece by piece; None where it cannot be read."""
    with suppress(OSError), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
    return None
