"""From names on the command line to compressed documents, nothing read twice."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.progress import TaskProgressColumn

import e2llm
from e2llm.cli.terminal import progress_bar, say
from e2llm.documents.reading import Source, read
from e2llm.errors import (
    CorruptDocumentError,
    E2LLMError,
    ReadError,
    StaleDocumentError,
    UserError,
)

if TYPE_CHECKING:
    from e2llm import E2LLM, Chunker, CompressedDocument, Library
    from e2llm.compression.compressor import Progress

SUFFIX = ".e2llm"
STDIN = ("-", "/dev/stdin")


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
    """

    model: "E2LLM"
    library: "Library | None"
    ratio: float | str | None = None
    chunker: "Chunker | None" = None
    window: int | None = None
    must_store: bool = False

    def compress(self, source: Source) -> tuple["CompressedDocument", float]:
        """Return the document of a text and the seconds it took; 0 where it was read before."""
        previous = None
        if self.library is not None:
            if (known := self._known(self.library, source)) is not None:
                return known, 0.0
            previous = self._grown_from(self.library, source)
        start_s = time.perf_counter()
        document = self._read(source, previous)
        seconds = time.perf_counter() - start_s
        if self.library is not None:
            self._store(self.library, document)
        return document, seconds

    def _known(self, library: "Library", source: Source) -> "CompressedDocument | None":
        """Return what is stored of this text, made in the same way."""
        key = self.model.compressor.key(source.text, *self._settings())
        if (stored := _stored(library, key)) is None:
            return None
        # The same text may be stored under the name of another file.
        document = replace(stored, name=source.name, page_starts=source.page_starts)
        newest = [entry.key for entry in library.find(source.name)][:1]
        if self.must_store and newest != [key]:
            library.put(document)
        return document

    def _grown_from(self, library: "Library", source: Source) -> "CompressedDocument | None":
        """Return what is stored under this name, made in the same way, that the text continues."""
        ratio, _, window = self._settings()
        wanted = (source.name, self.model.fingerprint, ratio, window)
        for entry in library.find(source.name):
            if (entry.name, entry.fingerprint, entry.ratio, entry.window) == wanted:
                stored = _stored(library, entry.key)
                if stored is not None and source.text.startswith(stored.text):
                    return stored
        return None

    def _read(self, source: Source, previous: "CompressedDocument | None") -> "CompressedDocument":
        ratio, chunker, window = self._settings()
        with ReadingBar(source, len(previous.text) if previous else 0) as bar:
            # The encoder's first run is slow for reasons of its own: it would spoil the estimate.
            self.model.compressor.embed_question("Ready?")
            return self.model.compress(
                source.text,
                source.name,
                ratio,
                chunker=chunker,
                window=window,
                page_starts=source.page_starts,
                previous=previous,
                progress=bar.update,
            )

    def _store(self, library: "Library", document: "CompressedDocument") -> None:
        try:
            library.put(document)
        except E2LLMError as error:
            if self.must_store:
                raise
            say(f"{error} {document.name!r} is not stored.")

    def _settings(self) -> tuple[float | str, "Chunker", int]:
        config = self.model.config
        return (
            config.ratio if self.ratio is None else self.ratio,
            self.chunker or self.model.chunker,
            config.window_chunks if self.window is None else self.window,
        )


class ReadingBar:
    """Say how much there is to read and how long it will take, then show a progress bar.

    Args:
        source: What is read.
        n_known: Characters at its start that were read before.
    """

    def __init__(self, source: Source, n_known: int = 0) -> None:
        self.name = source.name
        self.size = f"{len(source.text) - n_known:,} {'new ' if n_known else ''}characters"
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
            seconds = progress.seconds + progress.left_s
            say(f"Reading {self.name}: {self.size}, about {max(1, round(seconds)):,} s.")
        self.bar.update(self.task, completed=progress.done_chars)


def gather(
    names: Sequence[str], encoding: str | None, library: "Library"
) -> list["Source | CompressedDocument | str"]:
    """Find what each name stands for, before anything slow.

    Returns:
        For each name a text, a compressed file, or the name of a stored document.

    Raises:
        ReadError: A name is neither a readable file nor stored.
    """
    found: list[Source | CompressedDocument | str] = []
    if sum(name in STDIN for name in names) > 1:
        raise UserError("`FILE` (=-) stands for standard input, which can be read only once.")
    for name in names:
        # A file goes before a stored document of the same name.
        if name not in STDIN and not os.path.exists(name) and library.find(name):
            found.append(name)
        elif name.endswith(SUFFIX):
            found.append(e2llm.CompressedDocument.load(name))
        else:
            found.append(_read_file(name, encoding))
    return found


def load_found(
    found: Sequence["Source | CompressedDocument | str"], library: "Library", fingerprint: str
) -> list["Source | CompressedDocument"]:
    """Load the stored documents among what `gather` found, and check who made the compressed ones.

    Raises:
        StaleDocumentError: Another model made a document.
    """
    items = [
        _load_stored(library, item, fingerprint) if isinstance(item, str) else item
        for item in found
    ]
    for item in items:
        if not isinstance(item, Source):
            item.check_fingerprint(fingerprint)
    return items


def parse_ratio(ratio: str | None) -> float | str | None:
    """Turn what was typed into a ratio."""
    if ratio is None:
        return None
    from e2llm.checks import check_ratio

    return check_ratio(ratio)


def parse_chunker(
    model: "E2LLM", chunk_chars: int | None, overlap_chars: int | None
) -> "Chunker | None":
    """Turn what was typed into a chunker; None for the pair's own."""
    if chunk_chars is None and overlap_chars is None:
        return None
    from e2llm import Chunker

    own = model.chunker
    return Chunker(
        own.size if chunk_chars is None else chunk_chars,
        own.overlap if overlap_chars is None else overlap_chars,
    )


def describe(document: "CompressedDocument", seconds: float) -> str:
    """Return one line on what a document became."""
    how = f"in {seconds:.1f} s" if seconds else "read before"
    return (
        f"{document.name}: {document.n_tokens:,} tokens of text, {document.n_soft:,} soft tokens "
        f"(ratio {document.ratio_got:.1f}), {how}"
    )


def _stored(library: "Library", key: str) -> "CompressedDocument | None":
    try:
        return library.get(key)
    except CorruptDocumentError:
        return None  # its text is at hand: it is compressed and stored anew


def _load_stored(library: "Library", name: str, fingerprint: str) -> "CompressedDocument":
    """Return the newest stored document of a name that this model made."""
    for entry in library.find(name):
        if entry.fingerprint == fingerprint and (document := library.get(entry.key)) is not None:
            return document
    raise StaleDocumentError(
        f"{name!r} is stored, but was compressed by another model than this one; compress its "
        "file again with this model."
    )


def _read_file(name: str, encoding: str | None) -> Source:
    try:
        return read(name, encoding)
    except ReadError as error:
        if name not in STDIN and not os.path.exists(name):
            raise ReadError(
                f"{str(error).removesuffix('.')}, or name a stored document (`e2llm library list`)."
            ) from error
        raise
