"""The files of a folder that can be read: found one by one, with what was passed over counted."""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from e2llm.documents import formats
from e2llm.documents.formats.encoding import decode
from e2llm.documents.ignoring import ENVIRONMENT_FILE, Rules
from e2llm.documents.reading import printable, read
from e2llm.documents.source import Source
from e2llm.errors import E2LLMError, ReadError

MAX_BYTES = 50 * 10**6
# By so much of its start a file of an unknown kind is taken for text or not.
_HEAD_BYTES = 4096
_MOST_KINDS = 6
# Of what is passed over for another reason than its kind, so many are named.
_MOST_NAMES = 3
_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")
_CONTROL = bytes(set(range(32)) - set(b"\t\n\r\f\b\x1b")) + b"\x7f"


@dataclass(frozen=True, slots=True)
class TreeFile:
    """One file of a folder.

    Attributes:
        path: Where it lies.
        name: Its path from the folder, with "/" between names; one line of printable characters.
        n_bytes: Its size.
        mtime_ns: When it was last written, in nanoseconds since 1970.
    """

    path: str
    name: str
    n_bytes: int
    mtime_ns: int

    @property
    def suffix(self) -> str:
        """The end of its name from the dot on, in lower case."""
        return os.path.splitext(self.path)[1].lower()

    def read(self, encoding: str | None = None) -> Source:
        """Read its text, as `documents.reading.read` does, under its name in the folder.

        Raises:
            ReadError, MissingPackageError: As `read`.
        """
        return replace(read(self.path, encoding), name=self.name)

    def state(self) -> tuple[int, int]:
        """Return its size and its time of writing as they are now.

        Raises:
            OSError: It is gone, or may not be looked at.
        """
        now = os.stat(self.path)
        return now.st_size, now.st_mtime_ns


@dataclass
class FileTree:
    """The files of a folder, and of the folders in it, that can be read.

    Left out are hidden files and folders, virtual environments, `node_modules`, and what a
    `.gitignore` or `.e2llmignore` in any of the folders says. A rule such as `!.notes/` takes back
    what is hidden. Links to files inside the folder are followed; links to folders are not.

    Attributes:
        root: The folder.
        max_bytes: Larger files are passed over.
        pattern: Only files that it matches, such as `**/*.md`, or that lie in folders that it
            matches; None for all.
        prefix: What stands before the names of its files.
        kinds: By suffix, how many files were passed over because nothing can read their kind.
        passed_over: By reason, how many other files were passed over.
        failures: Names of folders and files that could not be looked at, each with the reason.

    Example:
        >>> tree = FileTree("notes")  # doctest: +SKIP
        >>> [file.name for file in tree.files() if tree.is_readable(file)]  # doctest: +SKIP
        ['a/report.md', 'b/report.md']
    """

    root: str
    max_bytes: int = MAX_BYTES
    pattern: str | None = None
    prefix: str = ""
    kinds: Counter[str] = field(default_factory=Counter)
    passed_over: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)
    _first: dict[str, list[str]] = field(default_factory=dict, repr=False)
    _given: set[str] = field(default_factory=set, repr=False)

    def files(self) -> Iterator[TreeFile]:
        """Yield the files, each folder's by name; none of them is opened.

        Raises:
            ReadError: The root is no folder, or may not be read.
            MissingPackageError: Rules need a package of the extra `documents`.
        """
        if not os.path.isdir(self.root):
            raise ReadError(f"{self.root!r} is no folder: check the path")
        suffixes = formats.suffixes()
        # As a rule: what it leaves out is what is wanted.
        wanted = Rules.of(f"/{self.pattern}") if self.pattern else None
        inside = os.path.realpath(self.root)
        # Folders that are still to be looked into, the next one last: a path, its name with "/"
        # behind, and the rules that hold around it.
        folders: list[tuple[str, str, Rules]] = [(self.root, "", Rules.default())]
        while folders:
            path, folder, around = folders.pop()
            try:
                with os.scandir(path) as entries:
                    listed = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                if not folder:
                    raise ReadError(f"{self.root!r} cannot be read ({error.strerror})") from error
                self._fail(folder, error)
                continue
            if folder and any(entry.name == ENVIRONMENT_FILE for entry in listed):
                continue
            rules, deeper = around.inside(path, folder), []
            for entry in listed:
                name = folder + entry.name
                try:
                    if entry.is_dir(follow_symlinks=False):
                        if not rules.leaves_out(f"{name}/"):
                            deeper.append((entry.path, f"{name}/", rules))
                    elif not (rules.leaves_out(name) or (wanted and not wanted.leaves_out(name))):
                        file = self._file(entry, name, inside, suffixes)
                        if file is not None:
                            yield file
                except OSError as error:
                    self._fail(name, error)
            folders += reversed(deeper)

    def is_readable(self, file: TreeFile) -> bool:
        """Tell whether a format knows the file's suffix, or else whether it looks like text.

        What is neither is counted in `kinds`. One that cannot be opened is said to be readable, so
        that reading it says why not.
        """
        if file.suffix in formats.suffixes():
            return True
        try:
            with open(file.path, "rb") as opened:
                head = opened.read(_HEAD_BYTES)
        except OSError:
            return True
        known = any(
            head.startswith(kind.first_bytes)
            for kind in formats.FORMATS
            if kind.first_bytes and not kind.looks_like
        )
        if known or _looks_like_text(head):
            return True
        self.kinds[file.suffix or "no suffix"] += 1
        return False

    def notices(self) -> list[str]:
        """Return what was passed over, a line for each reason."""
        lines = [
            f"{reason} were passed over: {count:,} ({', '.join(self._first[reason])}"
            f"{', ...' if count > _MOST_NAMES else ''})"
            for reason, count in sorted(self.passed_over.items())
        ]
        if self.kinds:
            kinds = [f"{kind} {count:,}" for kind, count in self.kinds.most_common(_MOST_KINDS)]
            more = len(self.kinds) - len(kinds)
            n_files = self.kinds.total()
            lines.append(
                f"{n_files:,} {'file' if n_files == 1 else 'files'} of kinds that cannot be read "
                f"({', '.join(kinds)}{f' and {more:,} more kinds' if more else ''}) "
                f"{'was' if n_files == 1 else 'were'} passed over"
            )
        return lines

    def _file(
        self, entry: os.DirEntry[str], name: str, inside: str, suffixes: set[str]
    ) -> TreeFile | None:
        if entry.is_symlink() and (reason := _refuse_link(entry.path, inside)):
            self._pass_over(reason, name)
            return None
        state, suffix = entry.stat(), os.path.splitext(name)[1].lower()
        if not stat.S_ISREG(state.st_mode):
            self._pass_over("pipes and devices", name)
        elif not state.st_size:
            self._pass_over("empty files", name)
        elif state.st_size <= self.max_bytes:
            return TreeFile(entry.path, self._printable(name), state.st_size, state.st_mtime_ns)
        elif suffix in suffixes:
            self._pass_over(f"files of more than {self.max_bytes / 10**6:g} MB (--max-size)", name)
        else:
            self.kinds[suffix or "no suffix"] += 1  # an archive, a video
        return None

    def _printable(self, name: str) -> str:
        """Return what a file is called, which no other file is."""
        shown = own = printable(self.prefix + name)
        number = 1
        while own in self._given:
            number += 1
            own = f"{shown} ({number})"
        self._given.add(own)
        return own

    def _pass_over(self, reason: str, name: str) -> None:
        self.passed_over[reason] += 1
        first = self._first.setdefault(reason, [])
        if len(first) < _MOST_NAMES:
            first.append(printable(name))

    def _fail(self, name: str, error: OSError) -> None:
        self.failures.append((printable(name), error.strerror or str(error)))


def read_folder(
    path: str | os.PathLike[str],
    encoding: str | None = None,
    max_bytes: int = MAX_BYTES,
) -> Iterator[Source | E2LLMError]:
    """Yield the text of each file of a folder, named by its path in it; an error for a bad one.

    What is left out: `FileTree`.

    Args:
        path: The folder.
        encoding: As in `read`.
        max_bytes: Larger files are passed over.

    Raises:
        ReadError: The folder cannot be read.
        UserError: Python knows no encoding of that name.

    Example:
        >>> sources = [item for item in read_folder("notes") if isinstance(item, Source)]
        ... # doctest: +SKIP
    """
    if encoding is not None:
        decode(b"", encoding)
    tree = FileTree(os.fspath(path), max_bytes)
    for file in tree.files():
        if tree.is_readable(file):
            try:
                yield file.read(encoding)
            except E2LLMError as error:
                yield error
    for name, reason in tree.failures:
        yield ReadError(f"{name!r} cannot be read ({reason})")


def _refuse_link(path: str, inside: str) -> str | None:
    """Return why a link is not followed; None where it is."""
    target = os.path.realpath(path)
    if not os.path.exists(target):
        return "links that lead nowhere"
    if os.path.isdir(target):
        return "links to folders"
    if os.path.commonpath([inside, target]) != inside:
        return "links that point outside"
    return None


def _looks_like_text(head: bytes) -> bool:
    if head.startswith(_BYTE_ORDER_MARKS):
        return True
    return b"\0" not in head and 100 * len(head.translate(None, _CONTROL)) >= 99 * len(head)
