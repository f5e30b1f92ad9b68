"""The library: compressed documents on disk, to be asked again without their files or their
encoder.

One file per document, named by its key, and beside them a SQLite registry of what each is called
and when it was last used. The files are the truth. Every opening makes the registry agree with
them, so that what was lost on the way (a process killed, a registry damaged, a file copied here or
deleted by hand) mends itself; only renames and the stored limit live in the registry alone.
"""

import dataclasses
import difflib
import logging
import os
import re
import sqlite3
import time
import unicodedata
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from e2llm import environment
from e2llm.documents.compressed import SUFFIX, CompressedDocument, read_header
from e2llm.errors import CorruptDocumentError, LibraryError, ReadError, UserError

logger = logging.getLogger(__name__)

REGISTRY = "registry.sqlite"
BUSY_TIMEOUT_S = 30.0
STALE_AFTER_S = 3600.0
_DOCUMENT_FILE = re.compile(rf"[0-9a-f]{{64}}{re.escape(SUFFIX)}")
# Only names that `put` gives: a folder named by mistake may hold other programs' temporary files.
_TEMPORARY_FILE = re.compile(r"\.+[0-9a-f]{32}.*\.tmp")


@dataclass(frozen=True)
class Entry:
    """What the registry knows of one document.

    Attributes:
        key: What the document is stored under, 64 hexadecimal digits.
        name: What it is called here; several documents may share a name.
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


_COLUMNS = [field.name for field in dataclasses.fields(Entry)]


class Library:
    """The compressed documents in one folder; any number of processes and threads may use it at
    once.

    Example:
        >>> library = Library("library", max_bytes=10**9)  # doctest: +SKIP
        >>> library.put(document).name  # doctest: +SKIP
        'report'
        >>> library.load("report").n_soft == document.n_soft  # doctest: +SKIP
        True
    """

    def __init__(
        self, folder: str | os.PathLike[str] | None = None, max_bytes: int | None = None
    ) -> None:
        """Name the folder (default: `library` in `E2LLM_HOME`), made at the first write, and a
        limit in place of the stored one.
        """
        self.folder = (
            environment.home() / "library" if folder is None else Path(folder).expanduser()
        )
        self.max_bytes = _check_max_bytes(max_bytes)

    def put(self, document: CompressedDocument) -> Entry:
        """Store a document under its name, then delete those unused for longest until the limit is
        kept; return its entry.

        Putting what is here already stores it anew: that mends a damaged file and takes the
        document's name.

        Raises:
            UserError: The name breaks the rule of names, or the document alone is larger than the
                limit.
            LibraryError: The folder cannot be written.
        """
        check_name(document.name, "name")
        # Written and synced before the registry is locked, so that others need not wait for the
        # disk.
        temporary = self.folder / f".{document.key}-{uuid.uuid4().hex}.tmp"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            document.save(temporary)
            with self._registry() as db:
                entry = _describe(temporary, document.key, created_s=time.time())
                max_bytes = (
                    self.max_bytes
                    or db.execute(
                        "SELECT max(value) FROM settings WHERE name = 'max_bytes'"
                    ).fetchone()[0]
                )
                if max_bytes and entry.n_bytes > max_bytes:
                    raise UserError(
                        f"`max_bytes` (={max_bytes}): {entry.name!r} alone takes "
                        f"{entry.n_bytes} bytes; raise the limit with `e2llm library limit`, "
                        "or compress at a higher ratio."
                    )
                os.replace(temporary, self._path(entry.key))
                _sync(self.folder)
                _insert(db, entry)
                if max_bytes:
                    self._evict(db, max_bytes, keep=entry.key)
        except OSError as error:
            raise self._unusable("written", error) from error
        finally:
            with suppress(OSError):
                temporary.unlink()
        return entry

    def get(self, key: str) -> CompressedDocument | None:
        """Return the document of this key under its present name and note the use; None if it is
        not here.

        Raises:
            CorruptDocumentError: Its file is damaged.
            LibraryError: Its file cannot be read.
        """
        entries = self._read(key)
        if not entries:
            return None
        name, path = entries[0].name, self._path(key)
        try:
            document = CompressedDocument.load(path)
            if document.key != key:
                raise CorruptDocumentError(
                    f"`{path}` holds another document ({document.key[:12]})."
                )
        except (ReadError, CorruptDocumentError) as error:
            if not path.exists():  # evicted or deleted since
                return None
            if not os.access(path, os.R_OK):
                raise self._unusable(
                    "read", PermissionError(f"no permission to read {path.name}")
                ) from error
            raise CorruptDocumentError(
                f"{name!r}: `{path}` is truncated or damaged; run `e2llm library delete "
                f"{key[:12]}`, or compress the document again."
            ) from error
        return dataclasses.replace(document, name=name)

    def find(self, name: str) -> list[Entry]:
        """Return the entries of exactly this name, or the one whose key begins with it (6 digits or
        more); most recently created first.
        """
        entries = sorted(self._read(), key=lambda entry: entry.created_s, reverse=True)
        if named := [entry for entry in entries if entry.name == name]:
            return named
        by_key = [
            entry for entry in entries if len(name) >= 6 and entry.key.startswith(name.lower())
        ]
        return by_key if len(by_key) == 1 else []

    def load(self, name: str) -> CompressedDocument:
        """Return the document of this name, the most recently created where there are several.

        Raises:
            UserError: There is none.
            CorruptDocumentError: Its file is damaged.
        """
        for entry in self._named(name):
            if document := self.get(entry.key):
                return document
        raise UserError(
            f"`name` (={name!r}) has just been deleted by another process; compress it again."
        )

    def entries(self) -> list[Entry]:
        """Return all entries, by name, then in the order they were created."""
        return sorted(self._read(), key=lambda entry: (entry.name, entry.created_s))

    def rename(self, name: str, new_name: str) -> list[Entry]:
        """Give all documents of `name` another name; return their new entries.

        Raises:
            UserError: There is none, or the new name breaks the rule of names.
            LibraryError: The folder cannot be written.
        """
        check_name(new_name, "new_name")
        entries = self._named(name)
        with self._registry() as db:
            db.executemany(
                "UPDATE documents SET name = ? WHERE key = ?",
                [(new_name, entry.key) for entry in entries],
            )
        return [dataclasses.replace(entry, name=new_name) for entry in entries]

    def delete(self, name: str) -> list[Entry]:
        """Delete all documents of `name`; return what their entries were.

        Raises:
            UserError: There is none.
            LibraryError: The folder cannot be written.
        """
        entries = self._named(name)
        try:
            # The next opening drops the rows. Without the registry this works on a full disk too,
            # where it is needed most.
            for entry in entries:
                self._path(entry.key).unlink(missing_ok=True)
        except OSError as error:
            raise self._unusable("written", error) from error
        return entries

    def limit(self, max_bytes: int | None) -> list[Entry]:
        """Keep the library within `max_bytes` from now on, also when it is opened again (None: no
        limit); return what was deleted for it.

        Raises:
            UserError: The limit is less than 1.
            LibraryError: The folder cannot be written.
        """
        _check_max_bytes(max_bytes)
        with self._registry() as db:
            db.execute("INSERT OR REPLACE INTO settings VALUES ('max_bytes', ?)", (max_bytes,))
            return [] if max_bytes is None else self._evict(db, max_bytes)

    @property
    def n_bytes(self) -> int:
        """Size of all documents' files."""
        return sum(entry.n_bytes for entry in self._read())

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{SUFFIX}"

    def _named(self, name: str) -> list[Entry]:
        if entries := self.find(name):
            return entries
        near = difflib.get_close_matches(name, sorted({entry.name for entry in self._read()}))
        way_out = (
            f"did you mean {' or '.join(map(repr, near))}?"
            if near
            else "`e2llm library list` shows what is."
        )
        raise UserError(f"`name` (={name!r}) is not in the library `{self.folder}`; {way_out}")

    def _unusable(self, verb: str, error: Exception) -> LibraryError:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        way_out = "mend that, or choose another folder with E2LLM_HOME or --library"
        return LibraryError(f"`{self.folder}`: the library cannot be {verb} ({reason}); {way_out}.")

    def _file_names(self) -> list[str]:
        try:
            return os.listdir(self.folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._unusable("read", error) from error

    def _keys(self) -> set[str]:
        return {
            name.removesuffix(SUFFIX)
            for name in self._file_names()
            if _DOCUMENT_FILE.fullmatch(name)
        }

    def _read(self, used: str | None = None) -> list[Entry]:
        """Return the entries (of the document `used` alone, noting its use, where it is given),
        from a library that cannot be written too.
        """
        keys = self._keys()
        if not keys or (
            used and used not in keys
        ):  # no registry is made where there is nothing to register
            return []
        try:
            with self._registry() as db:
                if used is None:
                    return _select(db)
                db.execute("UPDATE documents SET used_s = ? WHERE key = ?", (time.time(), used))
                return _select(db, "WHERE key = ?", used)
        except LibraryError as error:
            logger.debug("reading on without writing: %s", error)
            return [entry for entry in self._snapshot() if used in (None, entry.key)]

    def _snapshot(self) -> list[Entry]:
        """Return the entries without writing anything: from the registry, and from the files where
        it lacks them.
        """
        rows: dict[str, Entry] = {}
        uri = (self.folder / REGISTRY).absolute().as_uri()
        # The first needs the log beside the registry, which a killed writer leaves; the second
        # reads past a log, and serves where there is none.
        for mode in ("mode=ro", "mode=ro&immutable=1"):
            with suppress(sqlite3.Error), closing(_connect(f"{uri}?{mode}")) as db:
                rows = {entry.key: entry for entry in _select(db)}
                break
        for key in self._keys() - rows.keys():
            with suppress(OSError):
                rows[key] = _describe(self._path(key), key)
        return [rows[key] for key in self._keys() & rows.keys()]

    @contextmanager
    def _registry(self) -> Iterator[sqlite3.Connection]:
        """Open the registry in agreement with the files and hold its write lock; the block is one
        transaction.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # A connection per use: it is safe among threads and after a fork, and nobody has to
            # close a library.
            with closing(self._open()) as db, db:
                yield db
        except (sqlite3.Error, OSError) as error:
            raise self._unusable("written", error) from error

    def _open(self) -> sqlite3.Connection:
        path = self.folder / REGISTRY
        for _ in range(3):
            inode = _inode(path)
            db = _connect(path.absolute().as_uri())
            try:
                # Refused while others ask for the same; the transaction is as safe without.
                with suppress(sqlite3.OperationalError):
                    db.execute("PRAGMA journal_mode = WAL")
                db.execute("BEGIN IMMEDIATE")
                db.execute(
                    "CREATE TABLE IF NOT EXISTS documents (key TEXT PRIMARY KEY, "
                    f"{', '.join(_COLUMNS[1:])}) WITHOUT ROWID"
                )
                db.execute(
                    "CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value) "
                    "WITHOUT ROWID"
                )
                if db.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                    raise sqlite3.DatabaseError("the registry is damaged")
                self._reconcile(db)
                return db
            except BaseException as error:
                db.close()
                # A subclass, such as OperationalError, is the system's trouble (full, locked,
                # read-only); this class itself is the file's.
                if type(error) is not sqlite3.DatabaseError:
                    raise
                if inode == _inode(path):  # else another process was here first
                    _set_aside(path)
        raise sqlite3.OperationalError("the registry cannot be rebuilt")

    def _reconcile(self, db: sqlite3.Connection) -> None:
        """Make the rows agree with the files, reading only those without a row, and clear what
        killed writers left.
        """
        keys = self._keys()
        rows = {key for (key,) in db.execute("SELECT key FROM documents")}
        db.executemany("DELETE FROM documents WHERE key = ?", [(key,) for key in rows - keys])
        for key in keys - rows:
            with suppress(OSError):  # gone since, or not ours to read
                _insert(db, _describe(self._path(key), key))
        for temporary in (
            self.folder / name for name in self._file_names() if _TEMPORARY_FILE.fullmatch(name)
        ):
            with suppress(OSError):
                if temporary.stat().st_mtime < time.time() - STALE_AFTER_S:
                    temporary.unlink()

    def _evict(
        self, db: sqlite3.Connection, max_bytes: int, keep: str | None = None
    ) -> list[Entry]:
        """Delete those unused for longest, never `keep`, until the rest takes no more than
        `max_bytes`; return them.
        """
        entries = _select(db, "ORDER BY used_s")
        excess = sum(entry.n_bytes for entry in entries) - max_bytes
        evicted = []
        for entry in entries:
            if excess > 0 and entry.key != keep:
                self._path(entry.key).unlink(missing_ok=True)
                db.execute("DELETE FROM documents WHERE key = ?", (entry.key,))
                excess -= entry.n_bytes
                evicted.append(entry)
        return evicted


def _connect(uri: str) -> sqlite3.Connection:
    db = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    # SQLite has no checksums: a damaged name must be readable, a damaged key must be unlike any
    # file's.
    db.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return db


def _select(db: sqlite3.Connection, condition: str = "", *values: str) -> list[Entry]:
    return [
        Entry(*row)
        for row in db.execute(f"SELECT {', '.join(_COLUMNS)} FROM documents {condition}", values)
    ]


def _insert(db: sqlite3.Connection, entry: Entry) -> None:
    db.execute(
        f"INSERT OR REPLACE INTO documents VALUES ({', '.join('?' * len(_COLUMNS))})",
        dataclasses.astuple(entry),
    )


def _describe(path: Path, key: str, created_s: float | None = None) -> Entry:
    """Make an entry from a document's file, also from a damaged one, so that it can be seen and
    deleted; raise `OSError` if it cannot be opened.
    """
    try:
        header = read_header(path)
    except (ReadError, CorruptDocumentError):
        header = {}
    with path.open("rb") as file:
        state = os.fstat(file.fileno())
    if header.get("key") != key:
        header = {
            "name": "",
            "sha256": "",
            "fingerprint": "",
            "ratio": "chunk",
            "window": 1,
            "n_chunks": 0,
            "n_soft": 0,
            "n_tokens": 0,
        }
    about = {column: header[column] for column in _COLUMNS if column in header}
    about |= {
        "key": key,
        "name": header["name"] if _is_name(header["name"]) else f"damaged-{key[:12]}",
    }
    created_s = created_s or state.st_mtime
    return Entry(**about, n_bytes=state.st_size, created_s=created_s, used_s=created_s)


def _set_aside(path: Path) -> None:
    aside = f"{path}.damaged-{time.time_ns() // 10**6}"
    for suffix in ("-wal", "-shm", ""):
        with suppress(FileNotFoundError):
            os.replace(f"{path}{suffix}", f"{aside}{suffix}")
    logger.warning(
        "%s is damaged: moved to %s, and rebuilt from the documents (renames and the limit "
        "are lost)",
        path,
        aside,
    )


def _inode(path: Path) -> int | None:
    with suppress(FileNotFoundError):
        return path.stat().st_ino
    return None


def _check_max_bytes(max_bytes: int | None) -> int | None:
    if max_bytes is not None and not 1 <= max_bytes < 2**63:
        raise UserError(
            f"`max_bytes` (={max_bytes}) must be at least 1 and less than 2**63, or None for "
            "no limit."
        )
    return max_bytes


def _is_name(name: str) -> bool:
    # Not `str.isprintable`: it refuses the narrow space in macOS's screenshot names and the joiners
    # in emoji.
    return bool(name.strip()) and not any(
        unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in name
    )


def check_name(name: str, argument: str) -> None:
    """Raise `UserError` unless a document may be called `name`: one line, printable, not empty."""
    if not _is_name(name):
        raise UserError(
            f"`{argument}` (={name!r}) must be one line of printable characters, and not "
            "empty; choose another."
        )


def _sync(folder: Path) -> None:
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
