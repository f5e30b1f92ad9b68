"""How far the reading of many files has come, and how long it will take."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.progress import TaskProgressColumn

from e2llm.cli.terminal import progress_bar, say
from e2llm.documents.file_tree import TreeFile
from e2llm.errors import E2LLMError

if TYPE_CHECKING:
    from e2llm.compression.compressor import Progress
    from e2llm.documents.source import Source

# So many files of a kind are read before, to see how much text its bytes hold.
N_SAMPLES = 3
MOST_SAMPLE_BYTES = 10**6
# From this many seconds on a second estimate is said, after a tenth.
LONG_S = 60


class Pace:
    """A progress bar over files that are still to be read, with an estimate of the time.

    The work is counted in characters. How many a file holds is known once it is open; before, it is
    its size times the share that files of its kind have had so far.

    Args:
        files: What is to be read.
        n_known: Files that were read before.
    """

    def __init__(self, files: Sequence[TreeFile], n_known: int = 0) -> None:
        self.n_files, self.n_known = len(files), n_known
        self._bytes_left: Counter[str] = Counter()
        for file in files:
            self._bytes_left[file.suffix] += file.n_bytes
        self._bytes: Counter[str] = Counter()
        self._chars: Counter[str] = Counter()
        self._sample(files)
        self.done_chars = self.inside_chars = 0
        self._open_chars = 0  # of files that are open and not done
        self._start_s = time.perf_counter()
        self._n_said = 0
        self._bar = progress_bar(TaskProgressColumn())
        self._task = self._bar.add_task(f"Reading {self.n_files:,} files")

    def __enter__(self) -> "Pace":
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    @property
    def left_chars(self) -> float:
        """Estimate of the characters of the files that are not open yet."""
        return sum(
            n_bytes * self._chars[kind] / self._bytes[kind] if self._bytes[kind] else n_bytes
            for kind, n_bytes in self._bytes_left.items()
        )

    @property
    def left_s(self) -> float:
        """Estimate of the seconds left, from the pace so far."""
        done = self.done_chars + self.inside_chars
        seconds = time.perf_counter() - self._start_s
        return seconds * (self.left_chars + self._open_chars - self.inside_chars) / max(1, done)

    def open(self, file: TreeFile, n_chars: int) -> None:
        """Note how many characters a file holds; 0 for one that cannot be read."""
        self._bytes_left[file.suffix] -= file.n_bytes
        self._bytes[file.suffix] += file.n_bytes
        self._chars[file.suffix] += n_chars
        self._open_chars += n_chars

    def inside(self, progress: "Progress") -> None:
        """Take the compressor's word on a long text."""
        share = 1 - progress.left_s / max(1e-9, progress.seconds + progress.left_s)
        self.inside_chars = round(share * progress.total_chars)
        self._show()

    def done(self, sources: Sequence["Source"]) -> None:
        """Note that texts are read and stored."""
        n_chars = sum(len(source.text) for source in sources)
        self.done_chars += n_chars
        self._open_chars -= n_chars
        self.inside_chars = 0
        self._show()

    def _show(self) -> None:
        done = self.done_chars + self.inside_chars
        total = round(self.done_chars + self._open_chars + self.left_chars)
        self._bar.update(self._task, completed=done, total=max(total, done))
        left_s = self.left_s
        if not self._n_said:
            self._n_said = 1
            seconds = time.perf_counter() - self._start_s
            known = f" ({self.n_known:,} more were read before)" if self.n_known else ""
            files = f"{self.n_files:,} {'file' if self.n_files == 1 else 'files'}"
            spelt = spell(seconds + left_s)
            say(f"Reading {files}{known}: about {total:,} characters, about {spelt}.")
        elif self._n_said == 1 and 10 * done >= total:
            self._n_said = 2
            if left_s > LONG_S:
                say(f"A tenth is read: about {spell(left_s)} left.")

    def _sample(self, files: Sequence[TreeFile]) -> None:
        """Read a few files of each kind, where there are many, for how much text they hold."""
        by_kind: dict[str, list[TreeFile]] = {}
        for file in files:
            if file.n_bytes <= MOST_SAMPLE_BYTES:
                by_kind.setdefault(file.suffix, []).append(file)
        for kind, own in by_kind.items():
            if len(own) <= 2 * N_SAMPLES:
                continue
            for file in own[len(own) // (2 * N_SAMPLES) :: len(own) // N_SAMPLES][:N_SAMPLES]:
                self._bytes[kind] += file.n_bytes
                try:
                    self._chars[kind] += len(file.read().text)
                except (E2LLMError, MemoryError):
                    continue  # which reading it in its turn says


def spell(seconds: float) -> str:
    """Return a time as people say it.

    Example:
        >>> spell(7.2), spell(400), spell(9000)
        ('7 s', '7 min', '2.5 h')
    """
    if seconds < 90:
        return f"{max(1, round(seconds)):,} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
