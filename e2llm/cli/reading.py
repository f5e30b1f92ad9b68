"""From texts to compressed documents: what was read before is not read again."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from rich.progress import TaskProgressColumn

from e2llm.cli.terminal import progress_bar, say, status
from e2llm.documents.source import Source, group_sources
from e2llm.errors import CorruptDocumentError, E2LLMError, LibraryError

if TYPE_CHECKING:
    from e2llm import E2LLM, Chunker, CompressedDocument, Library
    from e2llm.cli.pace import Pace
    from e2llm.compression.compressor import Compressor, Progress
    from e2llm.documents.catalogue import Catalogue
    from e2llm.documents.entry import Entry

# Texts of so many characters in all are looked up, read and stored at once.
TOGETHER_CHARS = 65_536
# The time that a longer text takes is estimated before it is read to its end.
LONG_CHARS = 8_192


@dataclass
class Reading:
    """How texts become compressed documents in one run of a verb.

    Attributes:
        model: The pair.
        library: Where they are looked up and stored; None stores nothing.
        ratio: As given; None for the pair's own.
        chunker: As given; None for the pair's own.
        window: As given; None for the pair's own.
        must_store: Whether a document that cannot be stored is an error; else it is only said.
        pace: Where the texts are those of many files: what shows how far it has come. Then each
            text is stored under its name, also where it is stored under another already.
    """

    model: "E2LLM"
    library: "Library | None"
    ratio: float | str | None = None
    chunker: "Chunker | None" = None
    window: int | None = None
    must_store: bool = False
    pace: "Pace | None" = None

    def compress(self, sources: Iterable[Source]) -> Iterator[tuple["CompressedDocument", float]]:
        """Yield the document of each text and the seconds it took; 0 where it was read before."""
        together = TOGETHER_CHARS if self._settings[2] == 1 else 0
        for group in group_sources(sources, together):
            yield from self._compress_group(group)

    def _compress_group(self, group: list[Source]) -> list[tuple["CompressedDocument", float]]:
        keys = [self._compressor.key(source, *self._settings) for source in group]
        documents = self._stored(keys)
        new: dict[str, Source] = {}
        for source, key in zip(group, keys, strict=True):
            if key not in documents:
                new.setdefault(key, source)
        start_s = time.perf_counter()
        documents |= zip(new, self._read(list(new.values())), strict=True)
        seconds = (time.perf_counter() - start_s) / max(1, len(new))
        # The same text may be known under the name of another file.
        named = [documents[key].of_source(source) for source, key in zip(group, keys, strict=True)]
        is_new = [new.get(key) is source for source, key in zip(group, keys, strict=True)]
        self._store(
            [
                document
                for document, made in zip(named, is_new, strict=True)
                if made or ((self.must_store or self.pace) and not self._is_newest(document))
            ]
        )
        return [
            (document, seconds if made else 0.0)
            for document, made in zip(named, is_new, strict=True)
        ]

    def _stored(self, keys: Sequence[str]) -> dict[str, "CompressedDocument"]:
        """Return what is stored under these keys, and is whole."""
        if self.library is None:
            return {}
        found = {entry.key: self._intact(entry) for entry in self.library.use(keys)}
        return {key: document for key, document in found.items() if document is not None}

    def _intact(self, entry: "Entry") -> "CompressedDocument | None":
        try:
            return self.library.read(entry) if self.library else None
        except CorruptDocumentError:
            return None  # its text is at hand: it is compressed and stored anew

    def _is_newest(self, document: "CompressedDocument") -> bool:
        """Tell whether this is what the library gives for the document's name."""
        return [entry.key for entry in self._named(document.name)][:1] == [document.key]

    def _earlier(self, source: Source) -> "CompressedDocument | None":
        """Return the newest document of this name that was made in the same way, and is whole."""
        ratio, chunker, window = self._settings
        wanted = (source.name, self._compressor.fingerprint, ratio, window)
        for entry in self._named(source.name):
            if (entry.name, entry.fingerprint, entry.ratio, entry.window) == wanted:
                stored = self._intact(entry)
                if stored is not None and stored.chunker == chunker:
                    return stored
        return None

    def _named(self, name: str) -> list["Entry"]:
        """Return what was stored under this name when the verb began."""
        return [] if self.library is None else self._catalogue.find(name)

    def _read(self, sources: list[Source]) -> list["CompressedDocument"]:
        earlier = [self._earlier(source) for source in sources]
        short = [own for own, known in zip(sources, earlier, strict=True) if known is None]
        if len(short) < 2:
            return [self._read_one(*each) for each in zip(sources, earlier, strict=True)]
        n_chars = sum(len(source.text) for source in short)
        what = f"{len(short):,} documents, {short[0].name} to {short[-1].name}"
        with nullcontext() if self.pace else status(f"Reading {what}"):
            made = iter(list(self._compressor.compress_many(short, *self._settings)))
        if not self.pace:
            say(f"Read {what}: {n_chars:,} characters.")
        return [
            next(made) if known is None else self._read_one(source, known)
            for source, known in zip(sources, earlier, strict=True)
        ]

    def _read_one(
        self, source: Source, previous: "CompressedDocument | None"
    ) -> "CompressedDocument":
        if self.pace:
            show = self.pace.inside
            return self._compressor.compress(source, *self._settings, previous, show)
        with ReadingBar(source) as bar:
            if len(source.text) > LONG_CHARS:
                self.warm_up()
            return self._compressor.compress(source, *self._settings, previous, bar.update)

    def _store(self, documents: list["CompressedDocument"]) -> None:
        if self.library is None or not documents:
            return
        try:
            self.library.put_all(documents, beside=True)
        except E2LLMError as error:
            if self.must_store:
                raise
            if len(documents) > 1 and not isinstance(error, LibraryError):
                for document in documents:  # one of them is the trouble
                    self._store([document])
                return
            more = len(documents) - 1
            which = f" and {more:,} more are" if more else " is"
            say(f"{error} {documents[0].name!r}{which} not stored.")

    def warm_up(self) -> None:
        """Run the encoder once: its first run is slow, and would spoil an estimate."""
        self._compressor.embed_question("Ready?")

    @property
    def how(self) -> tuple[str, float | str, "Chunker", int]:
        """All that decides what becomes of a text."""
        return (self._compressor.fingerprint, *self._settings)

    @cached_property
    def _settings(self) -> tuple[float | str, "Chunker", int]:
        config = self.model.config
        return (
            config.ratio if self.ratio is None else self.ratio,
            self.chunker or self.model.chunker,
            config.window_chunks if self.window is None else self.window,
        )

    @cached_property
    def _compressor(self) -> "Compressor":
        return self.model.compressor  # once, for its fingerprint goes over all weights

    @cached_property
    def _catalogue(self) -> "Catalogue":
        assert self.library is not None
        return self.library.catalogue()


class ReadingBar:
    """Say how much there is to read and how long it will take, then show a progress bar.

    Args:
        source: What is read.
    """

    def __init__(self, source: Source) -> None:
        self.name = source.name
        self.bar = progress_bar(TaskProgressColumn())
        self.task = self.bar.add_task(f"Reading {source.name}", total=len(source.text))
        self.said = False

    def __enter__(self) -> "ReadingBar":
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def update(self, progress: "Progress") -> None:
        """Take the compressor's word."""
        if not self.said:
            self.said = True
            seconds = max(1, round(progress.seconds + progress.left_s))
            new = "new " if progress.new_chars < progress.total_chars else ""
            size = f"{progress.new_chars:,} {new}characters"
            say(f"Reading {self.name}: {size}, about {seconds:,} s.")
        self.bar.update(self.task, completed=progress.done_chars)
