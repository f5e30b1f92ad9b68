"""A library's registry: a SQLite file of what each document is called and when it was used.

Every opening makes it agree with the files, so that what was lost on the way (a process killed, a
registry damaged, a file copied here or deleted by hand) mends itself; only renames and the stored
limit live in the registry alone.
"""

import dataclasses
import logging
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from e2llm.documents.entry import COLUMNS, Entry, describe
from e2llm.documents.folder import Folder

logger = logging.getLogger(__name__)

FILE = "registry.sqlite"
BUSY_TIMEOUT_S = 30.0


class Registry:
    """The registry of one folder; any number of processes and threads may use it at once."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.path = folder.path / FILE

    @contextmanager
    def locked(self) -> Iterator["Rows"]:
        """Open the registry in agreement with the files and hold its write lock.

        The block is one transaction: an error in it undoes what it wrote here.

        Raises:
            LibraryError: It cannot be written, or the block met an error of the disk.
        """
        try:
            self.folder.make()
            # A connection per use: it is safe among threads and after a fork, and nobody has to
            # close a library.
            with closing(self._open()) as db, db:
                yield Rows(db)
        except (sqlite3.Error, OSError) as error:
            raise self.folder.unusable("written", error) from error

    def snapshot(self) -> list[Entry]:
        """Return the entries without writing: from the registry, and from the files it lacks."""
        rows: dict[str, Entry] = {}
        others: list[Entry] = []
        uri = self.path.absolute().as_uri()
        # The first needs the log beside the registry, which a killed writer leaves; the second
        # reads past a log, and serves where there is none.
        for mode in ("mode=ro", "mode=ro&immutable=1"):
            with suppress(sqlite3.Error), closing(_connect(f"{uri}?{mode}")) as db:
                rows = {entry.key: entry for entry in Rows(db).entries()}
                others = Rows(db).others()
                break
        for key in self.folder.keys() - rows.keys():
            with suppress(OSError):
                rows[key] = describe(self.folder.file(key), key)
        on_disk = self.folder.keys()
        return [entry for entry in (*rows.values(), *others) if entry.key in on_disk]

    def _open(self) -> sqlite3.Connection:
        # A damaged registry is set aside and begun anew, which another process may do meanwhile.
        for _ in range(3):
            inode = _inode(self.path)
            db = _connect(self.path.absolute().as_uri())
            try:
                # Refused while others ask for the same; the transaction is as safe without.
                with suppress(sqlite3.OperationalError):
                    db.execute("PRAGMA journal_mode = WAL")
                # The write lock at once: a reader that begins to write later may be refused.
                db.execute("BEGIN IMMEDIATE")
                db.execute(
                    "CREATE TABLE IF NOT EXISTS documents (key TEXT PRIMARY KEY, "
                    f"{', '.join(COLUMNS[1:])}) WITHOUT ROWID"
                )
                db.execute(
                    "CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value) "
                    "WITHOUT ROWID"
                )
                db.execute(
                    "CREATE TABLE IF NOT EXISTS other_names (key TEXT, name TEXT, created_s, "
                    "PRIMARY KEY (key, name)) WITHOUT ROWID"
                )
                if db.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                    raise sqlite3.DatabaseError("the registry is damaged")
                self._reconcile(Rows(db))
                return db
            except BaseException as error:
                db.close()
                # A subclass, such as OperationalError, is the system's trouble (full, locked,
                # read-only); this class itself is the file's.
                if type(error) is not sqlite3.DatabaseError:
                    raise
                if inode == _inode(self.path):  # else another process was here first
                    _set_aside(self.path)
        raise sqlite3.OperationalError("the registry cannot be rebuilt")

    def _reconcile(self, rows: "Rows") -> None:
        """Make the rows agree with the files, reading only those without a row, and sweep."""
        on_disk, registered = self.folder.keys(), rows.keys()
        rows.delete(registered - on_disk)
        for key in on_disk - registered:
            with suppress(OSError):  # gone since, or not ours to read
                rows.put(describe(self.folder.file(key), key))
        self.folder.sweep()


class Rows:
    """The rows of an open registry: the documents' entries, and the stored limit.

    Args:
        db: The connection, in whose transaction everything happens.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def keys(self) -> set[str]:
        """Return the keys of all documents."""
        return {key for (key,) in self._db.execute("SELECT key FROM documents")}

    def entries(self, key: str | None = None, order: str = "key") -> list[Entry]:
        """Return the entries, all or those of one key, in the order of a column."""
        where, values = ("", ()) if key is None else ("WHERE key = ?", (key,))
        return [
            Entry(*row)
            for row in self._db.execute(
                f"SELECT {', '.join(COLUMNS)} FROM documents {where} ORDER BY {order}", values
            )
        ]

    def others(self) -> list[Entry]:
        """Return an entry for each further name of a document."""
        named = self._db.execute("SELECT key, name, created_s FROM other_names").fetchall()
        entries = {entry.key: entry for entry in self.entries()} if named else {}
        return [
            dataclasses.replace(entries[key], name=name, created_s=created_s)
            for key, name, created_s in named
            if key in entries
        ]

    def put(self, entry: Entry, beside: bool = False) -> None:
        """Add an entry, in place of the one of the same key.

        Args:
            entry: The entry.
            beside: Whether the document keeps the name that it had, beside this one.
        """
        if beside:
            self._db.execute(
                "INSERT OR REPLACE INTO other_names SELECT key, name, created_s FROM documents "
                "WHERE key = ? AND name != ?",
                (entry.key, entry.name),
            )
        self._db.execute(
            "DELETE FROM other_names WHERE key = ? AND (name = ? OR ?)",
            (entry.key, entry.name, not beside),
        )
        self._db.execute(
            f"INSERT OR REPLACE INTO documents VALUES ({', '.join('?' * len(COLUMNS))})",
            dataclasses.astuple(entry),
        )

    def delete(self, keys: set[str]) -> None:
        """Drop the entries of these keys."""
        for table in ("documents", "other_names"):
            self._db.executemany(f"DELETE FROM {table} WHERE key = ?", [(key,) for key in keys])

    def drop_name(self, key: str, name: str) -> bool:
        """Take a name from a document that has another; tell whether it had one."""
        other = "SELECT min(name) FROM other_names WHERE key = ? AND name != ?"
        (left,) = self._db.execute(other, (key, name)).fetchone()
        main = self._db.execute("SELECT name FROM documents WHERE key = ?", (key,)).fetchone()
        if main is None or (main[0] == name and left is None):
            return False
        if main[0] == name:
            self._db.execute("UPDATE documents SET name = ? WHERE key = ?", (left, key))
            name = left
        self._db.execute("DELETE FROM other_names WHERE key = ? AND name = ?", (key, name))
        return True

    def use(self, key: str) -> None:
        """Note that a document is used now."""
        self._db.execute("UPDATE documents SET used_s = ? WHERE key = ?", (time.time(), key))

    def rename(self, entries: Sequence[Entry], name: str) -> None:
        """Give the documents of these entries another name in place of the entry's."""
        for entry in entries:
            own = (name, entry.key, entry.name)
            self._db.execute("UPDATE documents SET name = ? WHERE key = ? AND name = ?", own)
            self._db.execute(
                "UPDATE OR REPLACE other_names SET name = ? WHERE key = ? AND name = ?", own
            )

    @property
    def max_bytes(self) -> int | None:
        """The stored limit; None where there is none."""
        # The greatest of no rows is one row with NULL.
        row = self._db.execute("SELECT max(value) FROM settings WHERE name = 'max_bytes'")
        max_bytes: int | None = row.fetchone()[0]
        return max_bytes

    @max_bytes.setter
    def max_bytes(self, max_bytes: int | None) -> None:
        self._db.execute("INSERT OR REPLACE INTO settings VALUES ('max_bytes', ?)", (max_bytes,))


def _connect(uri: str) -> sqlite3.Connection:
    db = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    # SQLite has no checksums: a damaged name must be readable, a damaged key must be unlike any
    # file's.
    db.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return db


def _set_aside(path: Path) -> None:
    aside = f"{path}.damaged-{time.time_ns() // 10**6}"
    for suffix in ("-wal", "-shm", ""):
        with suppress(FileNotFoundError):
            os.replace(f"{path}{suffix}", f"{aside}{suffix}")
    logger.warning(
        "%s is damaged: moved to %s, and rebuilt from the documents (renames and the limit are "
        "lost)",
        path,
        aside,
    )


def _inode(path: Path) -> int | None:
    with suppress(FileNotFoundError):
        return path.stat().st_ino
    return None
