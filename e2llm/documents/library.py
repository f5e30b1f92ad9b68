"""The library: compressed documents on disk, asked again without file or encoder.

One file per document, named by its key (`folder.py`), and beside them a SQLite registry of what
each is called and when it was last used (`registry.py`).
"""

import dataclasses
import difflib
import logging
import os
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from e2llm import environment
from e2llm.documents.atomic import sync_folder, write_synced
from e2llm.documents.catalogue import Catalogue
from e2llm.documents.compressed import CompressedDocument
from e2llm.documents.entry import Entry, check_name, describe
from e2llm.documents.folder import Folder
from e2llm.documents.registry import Registry, Rows
from e2llm.errors import CorruptDocumentError, LibraryError, ReadError, UserError

logger = logging.getLogger(__name__)


class Library:
    """The compressed documents in one folder.

    Any number of processes and threads may use it at once.

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
        """Open a library, which is made at the first write.

        Args:
            folder: Default: `library` in `E2LLM_HOME`.
            max_bytes: A limit in place of the stored one.
        """
        self.folder = (
            environment.home() / "library" if folder is None else Path(folder).expanduser()
        )
        self.max_bytes = _check_max_bytes(max_bytes)
        self._files = Folder(self.folder)
        self._registry = Registry(self._files)

    def put(self, document: CompressedDocument) -> Entry:
        """Store a document under its name, and return its entry.

        Then those unused for longest are deleted until the limit is kept. Putting what is here
        already stores it anew: that mends a damaged file and takes the document's name.

        Raises:
            UserError: The name breaks the rule of names, or the document alone is larger than the
                limit.
            LibraryError: The folder cannot be written.
        """
        return self.put_all([document])[0]

    def put_all(self, documents: Sequence[CompressedDocument], beside: bool = False) -> list[Entry]:
        """Store documents as `put` does one, in a fraction of the time; return their entries.

        Args:
            documents: What to store.
            beside: Whether a document that is here under another name keeps that name too, as two
                files with the same text do.

        Raises:
            UserError, LibraryError: As `put`; what was stored before it stays.
        """
        for document in documents:
            check_name(document.name, "name")
        # Written and synced before the registry is locked, so that others need not wait for the
        # disk.
        files = [
            (document, self.folder / f".{document.key}-{uuid.uuid4().hex}.tmp")
            for document in documents
        ]
        try:
            self._files.make()
            for document, temporary in files:
                write_synced(temporary, document.serialize())
            with self._registry.locked() as rows:
                max_bytes = self.max_bytes or rows.max_bytes
                entries = [self._add(rows, *file, max_bytes, beside) for file in files]
                sync_folder(self.folder)
                if max_bytes and entries:
                    self._evict(rows, max_bytes, keep=entries[-1].key)
        except OSError as error:
            raise self._files.unusable("written", error) from error
        finally:
            for _, temporary in files:
                with suppress(OSError):
                    temporary.unlink()
        return entries

    def _add(
        self,
        rows: Rows,
        document: CompressedDocument,
        temporary: Path,
        max_bytes: int | None,
        beside: bool,
    ) -> Entry:
        """Give a document's file its name and its row."""
        entry = describe(temporary, document.key, created_s=time.time())
        if max_bytes and entry.n_bytes > max_bytes:
            raise UserError(
                f"`max_bytes` (={max_bytes}): {entry.name!r} alone takes {entry.n_bytes} bytes; "
                "raise the limit with `e2llm library limit`, or compress at a higher ratio."
            )
        # The file first: one without a row gets it at the next opening, a row without a file goes.
        os.replace(temporary, self._files.file(entry.key))
        rows.put(entry, beside)
        return entry

    def get(self, key: str) -> CompressedDocument | None:
        """Return the document of this key under its present name; None if it is not here.

        The use is noted.

        Raises:
            CorruptDocumentError: Its file is damaged.
            LibraryError: Its file cannot be read.
        """
        entries = self.use([key])
        return self.read(entries[0]) if entries else None

    def use(self, keys: Sequence[str]) -> list[Entry]:
        """Note that documents are used now; return the entries of those that are here."""
        return self._read(keys)

    def read(self, entry: Entry) -> CompressedDocument | None:
        """Return the document of an entry, under the entry's name; None if it has gone since.

        Raises:
            CorruptDocumentError, LibraryError: As `get`.
        """
        name, path = entry.name, self._files.file(entry.key)
        try:
            document = CompressedDocument.load(path)
            # The key follows from the content, so that a file under a wrong name is found out.
            if document.key != entry.key:
                raise CorruptDocumentError(
                    f"`{path}` holds another document ({document.key[:12]})."
                )
        except (ReadError, CorruptDocumentError) as error:
            if not path.exists():  # evicted or deleted since
                return None
            if not os.access(path, os.R_OK):
                forbidden = PermissionError(f"no permission to read {path.name}")
                raise self._files.unusable("read", forbidden) from error
            raise CorruptDocumentError(
                f"{name!r}: `{path}` is truncated or damaged; run `e2llm library delete "
                f"{entry.key[:12]}`, or compress the document again."
            ) from error
        return document.renamed(name)

    def is_whole(self, entry: Entry) -> bool:
        """Tell whether an entry's file has the size that was written; it is not opened."""
        try:
            return os.path.getsize(self._files.file(entry.key)) == entry.n_bytes
        except OSError:
            return False

    def catalogue(self) -> Catalogue:
        """Return what is here now, for many look-ups."""
        return Catalogue(self._read())

    def find(self, name: str) -> list[Entry]:
        """Return the entries of exactly this name, the most recently created first.

        Where there are none: the one entry whose key begins with `name`, of 6 digits or more.
        """
        return self.catalogue().find(name)

    def load(self, name: str) -> CompressedDocument:
        """Return the document of this name, the most recently created where there are several.

        Raises:
            UserError: There is none.
            CorruptDocumentError: Its file is damaged.
        """
        for entry in self._named(name):
            if self.use([entry.key]) and (document := self.read(entry)):
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
        with self._registry.locked() as rows:
            rows.rename(entries, new_name)
        return [dataclasses.replace(entry, name=new_name) for entry in entries]

    def delete(self, name: str) -> list[Entry]:
        """Delete all documents of `name`; return what their entries were.

        A document that has another name too only loses this one.

        Raises:
            UserError: There is none.
            LibraryError: The folder cannot be written.
        """
        entries = self._named(name)
        self.delete_all([entry for entry in entries if entry.name == name])
        self._unlink([entry for entry in entries if entry.name != name])  # named by their key
        return entries

    def delete_all(self, entries: Sequence[Entry]) -> int:
        """Take the names of entries from their documents; delete those without another name.

        Returns:
            How many names went.

        Raises:
            LibraryError: The folder cannot be written.
        """
        known = self._read()
        names: dict[str, set[str]] = {}
        for entry in known:
            names.setdefault(entry.key, set()).add(entry.name)
        here = [entry for entry in entries if entry.name in names.get(entry.key, ())]
        whole = [entry for entry in here if len(names[entry.key]) == 1]
        if len(whole) < len(here):
            with self._registry.locked() as rows:
                whole = [entry for entry in here if not rows.drop_name(entry.key, entry.name)]
        self._unlink(whole)
        return len(here)

    def limit(self, max_bytes: int | None) -> list[Entry]:
        """Keep the library within `max_bytes`, now and when it is opened again; None: no limit.

        Returns:
            What was deleted for it.

        Raises:
            UserError: The limit is less than 1.
            LibraryError: The folder cannot be written.
        """
        _check_max_bytes(max_bytes)
        with self._registry.locked() as rows:
            rows.max_bytes = max_bytes
            return [] if max_bytes is None else self._evict(rows, max_bytes)

    @property
    def n_bytes(self) -> int:
        """Size of all documents' files."""
        return sum({entry.key: entry.n_bytes for entry in self._read()}.values())

    def _unlink(self, entries: Sequence[Entry]) -> None:
        """Delete the files of documents.

        The next opening drops the rows. Without the registry this works on a full disk too, where
        it is needed most.
        """
        try:
            for entry in entries:
                self._files.file(entry.key).unlink(missing_ok=True)
        except OSError as error:
            raise self._files.unusable("written", error) from error

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

    def _read(self, used: Sequence[str] | None = None) -> list[Entry]:
        """Return the entries, also of a library that cannot be written.

        Args:
            used: The keys of the documents to return, whose use is noted; None: all of them.
        """
        keys = self._files.keys()
        wanted = None if used is None else [key for key in used if key in keys]
        # No registry is made where there is nothing to register.
        if not keys or wanted == []:
            return []
        try:
            with self._registry.locked() as rows:
                if wanted is None:
                    return [*rows.entries(), *rows.others()]
                for key in wanted:
                    rows.use(key)
                return [entry for key in wanted for entry in rows.entries(key)]
        except LibraryError as error:
            logger.debug("reading on without writing: %s", error)
            known = self._registry.snapshot()
            first = {entry.key: entry for entry in reversed(known)}
            return known if wanted is None else [first[key] for key in wanted if key in first]

    def _evict(self, rows: Rows, max_bytes: int, keep: str | None = None) -> list[Entry]:
        """Delete those unused for longest until the rest takes no more than `max_bytes`.

        Args:
            keep: The key of the one that is never deleted.

        Returns:
            Those deleted.
        """
        entries = rows.entries(order="used_s")
        excess = sum(entry.n_bytes for entry in entries) - max_bytes
        evicted = []
        for entry in entries:
            if excess > 0 and entry.key != keep:
                self._files.file(entry.key).unlink(missing_ok=True)
                rows.delete({entry.key})
                excess -= entry.n_bytes
                evicted.append(entry)
        return evicted


def _check_max_bytes(max_bytes: int | None) -> int | None:
    if max_bytes is not None and not 1 <= max_bytes < 2**63:
        raise UserError(
            f"`max_bytes` (={max_bytes}) must be at least 1 and less than 2**63, or None for no "
            "limit."
        )
    return max_bytes
