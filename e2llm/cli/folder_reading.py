"""Reading a whole folder: only what is new or changed, and a bad file stops nothing."""

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import e2llm
from e2llm.cli.pace import Pace
from e2llm.cli.reading import TOGETHER_CHARS, Reading
from e2llm.cli.terminal import say, status
from e2llm.documents import formats
from e2llm.documents.encodings import Encodings
from e2llm.documents.file_index import FileIndex, Row, note, sha256_of
from e2llm.documents.file_tree import FileTree, TreeFile
from e2llm.documents.source import Source, group_sources
from e2llm.errors import CorruptDocumentError, E2LLMError, LibraryError

if TYPE_CHECKING:
    from e2llm import CompressedDocument, Library
    from e2llm.documents.entry import Entry

# So many failures are listed, and the rest counted.
MOST_LISTED = 20
# Texts are read and stored together for about so many seconds: what an interruption loses.
GROUP_S = 5.0
# So often what files became is noted, which an interruption would lose; it is found again by
# reading the files.
NOTE_EVERY_S = 2.0
_COUNT_EVERY = 500

Failure = tuple[str, str]  # the file's name, and why it could not be read


@dataclass
class FolderReading:
    """The reading of one folder's files.

    Attributes:
        reading: How texts become documents.
        tree: The folder.
        encodings: Of its files.
        library: Where the documents are; None where nothing is kept.
        failures: Files that could not be read, each with the reason.
        n_known: Files that were read before and are what they were.
        n_read: Files that were read now.
        n_files: Files that were found.
        together_chars: Texts of so many characters are read together, as the pace tells.
    """

    reading: Reading
    tree: FileTree
    encodings: Encodings
    library: "Library | None"
    failures: list[Failure] = field(default_factory=list)
    n_known: int = 0
    n_read: int = 0
    n_files: int = 0
    together_chars: int = 8_192
    _names: list[str] = field(default_factory=list)
    _touched: list["Entry"] = field(default_factory=list)

    def documents(
        self, with_known: bool = True
    ) -> Iterator[tuple[str, "CompressedDocument", float]]:
        """Yield the name, the document and the seconds of each file; 0 s where it was read before.

        Those that are new are stored before they are yielded.

        Args:
            with_known: Whether those that were read before are yielded too, first.
        """
        files = self._list()
        rows, entries = self._known(files)
        new, used = [], []
        for file in files:
            row = rows.get(self._path(file))
            entry = entries.get((row.key, file.name)) if row and row.holds(file) else None
            if entry is None:
                new.append(file)
                continue
            document = self._load(entry) if with_known else None
            if document is None and (with_known or not self._is_whole(entry)):
                # Damaged, or gone meanwhile: its file is read again.
                del entries[entry.key, entry.name]
                new.append(file)
                continue
            self.n_known += 1
            if document is not None:
                used.append(entry.key)
                yield file.name, document, 0.0
        if self.library is not None and used:
            self.library.use(used)
        if new:
            yield from self._read(new, rows, entries)
        for entry in self._touched if with_known else ():
            if (document := self._load(entry)) is not None:
                yield entry.name, document, 0.0
        self.failures += self.tree.failures
        for notice in self.tree.notices():
            say(f"{self.tree.root}: {notice}.")

    def in_order(self) -> list[tuple["CompressedDocument", float]]:
        """Return the documents and their seconds as the folder has them."""
        made = {name: (document, seconds) for name, document, seconds in self.documents()}
        return [made[name] for name in self._names if name in made]

    def sync(self) -> int:
        """Remove the documents whose files are gone from the folder; return how many."""
        if self.library is None:
            return 0
        gone = set(self._index.gone(self._exists))
        # What another folder gives under the same name stays.
        wanted = gone - self._index.given_elsewhere()
        entries = [entry for entry in self.library.entries() if (entry.key, entry.name) in wanted]
        n_removed = self.library.delete_all(entries) if entries else 0
        self._index.forget(gone)
        return n_removed

    def _list(self) -> list[TreeFile]:
        files: list[TreeFile] = []
        with status(f"Looking through {self.tree.root} ...") as shown:
            for file in self.tree.files():
                files.append(file)
                if len(files) % _COUNT_EVERY == 0:
                    shown.update(f"Looking through {self.tree.root}: {len(files):,} files")
        self.n_files, self._names = len(files), [file.name for file in files]
        return files

    def _known(
        self, files: list[TreeFile]
    ) -> tuple[dict[str, Row], dict[tuple[str, str], "Entry"]]:
        """Return what the index knows of files, and the library's entries by key and name."""
        if self.library is None or not files:
            return {}, {}
        rows = self._index.rows()
        stored = self.library.entries() if rows else []
        return rows, {(entry.key, entry.name): entry for entry in stored}

    def _is_whole(self, entry: "Entry") -> bool:
        return self.library is not None and self.library.is_whole(entry)

    def _load(self, entry: "Entry") -> "CompressedDocument | None":
        try:
            return self.library.read(entry) if self.library else None
        except CorruptDocumentError:
            return None  # its file is at hand: it is compressed and stored anew

    def _read(
        self,
        files: list[TreeFile],
        rows: dict[str, Row],
        entries: dict[tuple[str, str], "Entry"],
    ) -> Iterator[tuple[str, "CompressedDocument", float]]:
        """Yield the documents of files that have to be opened."""
        opened: deque[tuple[TreeFile, str]] = deque()
        noted: list[Row] = []
        noted_s = time.monotonic()
        with status("Looking at the kinds of files ..."):
            pace = Pace(files, self.n_known)
        reading = replace(self.reading, pace=pace)
        reading.warm_up()
        try:
            with pace:
                sources = self._sources(files, rows, entries, opened, noted, pace)
                for group in group_sources(sources, lambda: self.together_chars):
                    own, start_s = [opened.popleft() for _ in group], time.monotonic()
                    made = compress_each(reading, group, self.failures)
                    self.n_read += len(made) - made.count(None)
                    pace.done(group)
                    slow = time.monotonic() - start_s > GROUP_S
                    wanted = self.together_chars // 2 if slow else self.together_chars * 2
                    self.together_chars = min(wanted, TOGETHER_CHARS)
                    for (file, sha256), one in zip(own, made, strict=True):
                        if one is not None:
                            row = note(self.tree.root, file, one[0].key, sha256)
                            noted += [row] if row else []
                            yield file.name, *one
                    if time.monotonic() - noted_s > NOTE_EVERY_S:
                        self._note(noted)
                        noted_s = time.monotonic()
        finally:
            self._note(noted)

    def _sources(
        self,
        files: list[TreeFile],
        rows: dict[str, Row],
        entries: dict[tuple[str, str], "Entry"],
        opened: deque[tuple[TreeFile, str]],
        noted: list[Row],
        pace: Pace,
    ) -> Iterator[Source]:
        """Yield the texts of files that are new or changed; those alone go into `opened`."""
        for file in files:
            source = None
            if self.tree.is_readable(file):
                sha256 = sha256_of(file.path) or ""
                row = rows.get(self._path(file))
                entry = entries.get((row.key, file.name)) if row else None
                if row and entry and row.sha256 == sha256 and self._is_whole(entry):
                    # Only its time is another; a moment later it is known by that too.
                    same = note(self.tree.root, file, row.key, sha256)
                    noted += [same] if same else []
                    self._touched.append(entry)
                    self.n_known += 1
                else:
                    source = self._source(file)
            pace.open(file, len(source.text) if source else 0)
            if source:
                opened.append((file, sha256))
                yield source

    def _source(self, file: TreeFile) -> Source | None:
        try:
            return file.read(self.encodings.of(file.name))
        except E2LLMError as error:
            self.failures.append((file.name, str(error)))
        except MemoryError:
            self.failures.append((file.name, "needs more memory than there is"))
        return None

    def _note(self, noted: list[Row]) -> None:
        if self.library is not None:
            self._index.put(noted)
        noted.clear()

    def _path(self, file: TreeFile) -> str:
        return os.path.relpath(file.path, self.tree.root)

    def _exists(self, path: str) -> bool:
        try:
            os.lstat(os.path.join(self.tree.root, path))
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True  # it cannot be told
        return True

    @property
    def _index(self) -> FileIndex:
        assert self.library is not None
        # What another version, or another set of formats, reads of the same bytes may differ.
        how = (e2llm.__version__, sorted(formats.suffixes()), self.encodings, self.reading.how)
        return FileIndex(self.library.folder, self.tree.root, repr(how))


def compress_each(
    reading: Reading, group: list[Source], failures: list[Failure]
) -> list[tuple["CompressedDocument", float] | None]:
    """Return the document of each text; for one that is bad None, and a line in `failures`.

    Raises:
        LibraryError: A document cannot be stored.
    """
    try:
        return list(reading.compress(group))
    except LibraryError:
        raise
    except E2LLMError as error:
        if len(group) > 1:
            each = (compress_each(reading, [source], failures) for source in group)
            return [one for made in each for one in made]
        failures.append((group[0].name, str(error)))
        return [None]


def list_failures(failures: Sequence[Failure]) -> None:
    """Say which files could not be read, at most twenty of them by name."""
    if not failures:
        return
    say(f"{len(failures):,} {'file' if len(failures) == 1 else 'files'} could not be read:")
    for name, reason in failures[:MOST_LISTED]:
        say(f"  {name}: {' '.join(reason.split())}")
    if len(failures) > MOST_LISTED:
        say(f"  and {len(failures) - MOST_LISTED:,} more; --json names them all.")


def as_sources(tree: FileTree, encodings: Encodings) -> tuple[list[Source], list[Failure]]:
    """Read a folder's files as texts, without compressing them; return the bad ones too."""
    sources: list[Source] = []
    failures: list[Failure] = []
    for file in tree.files():
        if tree.is_readable(file):
            try:
                sources.append(file.read(encodings.of(file.name)))
            except E2LLMError as error:
                failures.append((file.name, str(error)))
    for notice in tree.notices():
        say(f"{tree.root}: {notice}.")
    return sources, failures + tree.failures
