"""`e2llm compress`: read documents once and keep them."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from e2llm.cli import options
from e2llm.cli.documents import (
    SUFFIX,
    describe,
    find_trees,
    parse_bytes,
    parse_chunker,
    parse_ratio,
    read_files,
)
from e2llm.cli.folder_reading import Failure, FolderReading, compress_each, list_failures
from e2llm.cli.loading import load_model, open_library, uncollected
from e2llm.cli.pace import spell
from e2llm.cli.reading import TOGETHER_CHARS, Reading
from e2llm.cli.terminal import say
from e2llm.documents import formats
from e2llm.documents.encodings import Encodings
from e2llm.documents.source import Source, group_sources
from e2llm.errors import E2LLMError, ReadError, UserError

if TYPE_CHECKING:
    from e2llm import CompressedDocument

Files = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE",
        help=f"{formats.names()}, - for standard input, a folder, or a pattern such as "
        "'notes/**/*.md'.",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="Write one document to this file (.e2llm) in place of the library."
    ),
]
Name = Annotated[
    str | None,
    typer.Option("--name", help="What the document is called; default: the file's name."),
]
JsonLines = Annotated[
    bool,
    typer.Option(
        "--json", help="Print one JSON object per document, each on a line, in place of text."
    ),
]
Sync = Annotated[
    bool,
    typer.Option("--sync", help="Remove from the library what a folder gave and holds no longer."),
]
# So many documents have a line each, and so many notes are said.
MOST_LINES = 20


def compress(
    files: Files,
    output: Output = None,
    name: Name = None,
    model: options.Model = "smol",
    ratio: options.Ratio = None,
    chunk_chars: options.ChunkChars = None,
    overlap_chars: options.OverlapChars = None,
    window: options.Window = None,
    encoding: options.Encoding = None,
    max_size: options.MaxSize = options.MAX_SIZE,
    sync: Sync = False,
    library: options.LibraryFolder = None,
    dtype: options.DType = None,
    device: options.Device = None,
    trust_remote_code: options.TrustRemoteCode = False,
    as_json: JsonLines = False,
) -> None:
    """Compress documents once, to be asked many times; of a text or a folder that has changed, only
    what is new is read.
    """
    with uncollected():
        from e2llm.documents.library import check_name

    wanted_ratio, encodings = parse_ratio(ratio), Encodings.parse(encoding or [])
    trees = find_trees(files, parse_bytes("--max-size", max_size))
    _check(files, output, name, sync, bool(trees))
    # All files are opened before the pair is loaded, so that a bad one is refused at once.
    plain = [file for file in files if file not in trees]
    sources, failures = _read(plain, encodings, alone=len(files) == 1)
    if not sources and not trees:
        list_failures(failures)
        raise typer.Exit(1)
    if name is not None:
        check_name(name, "--name")
        sources = [replace(sources[0], name=name)]
    shelf = None if output else open_library(library)
    pair = load_model(model, dtype, device, trust_remote_code)
    chunker = parse_chunker(pair, chunk_chars, overlap_chars)
    reading = Reading(pair, shelf, wanted_ratio, chunker, window, must_store=True)
    report = Report(as_json, wanted_ratio is not None, output)
    for group in group_sources(sources, TOGETHER_CHARS):
        # One that was given alone is an error as it stands.
        made = (
            reading.compress(group) if len(files) == 1 else compress_each(reading, group, failures)
        )
        for one in made:
            if one is not None:
                report.add(*one)
    for tree in trees.values():
        folder = FolderReading(reading, tree, encodings, shelf, failures)
        try:
            _read_folder(folder, report, as_json)
        except ReadError as error:  # the folder itself
            failures.append((tree.root, str(error)))
            continue
        if not folder.n_files:
            failures.append((tree.root, "holds no file that can be read; is it the right one?"))
        elif sync:
            say(f"{tree.root}: {folder.sync():,} documents of files that are gone were removed.")
    report.end(failures)


def _read_folder(folder: FolderReading, report: "Report", as_json: bool) -> None:
    start_s, n_failed = time.perf_counter(), len(folder.failures)
    n_tokens = n_soft = 0
    try:
        for _, document, seconds in folder.documents(with_known=as_json):
            report.add(document, seconds)
            n_tokens, n_soft = n_tokens + document.n_tokens, n_soft + document.n_soft
    except KeyboardInterrupt:
        n_done, n_files = folder.n_read + folder.n_known, folder.n_files
        stored = f"{n_done:,} of {n_files:,} files are stored"
        say(f"Interrupted: {stored}; the same command goes on from there.")
        raise typer.Exit(130) from None
    n_bad = len(folder.failures) - n_failed
    took = spell(time.perf_counter() - start_s)
    say(
        f"{folder.tree.root}: {folder.n_read:,} files read, {folder.n_known:,} read before, "
        f"{n_bad:,} could not be read; {n_tokens:,} tokens of text, {n_soft:,} soft tokens, in "
        f"{took}."
    )


@dataclass
class Report:
    """What is said of documents as they are made.

    Attributes:
        as_json: Whether it is JSON, an object to a line.
        ratio_asked: Whether a ratio was asked for; then it is said where it was not reached.
        output: Where the one document goes, if not to the library.
    """

    as_json: bool
    ratio_asked: bool
    output: Path | None = None
    n_documents: int = 0
    n_notes: int = 0

    def add(self, document: "CompressedDocument", seconds: float) -> None:
        """Tell of a document."""
        if self.output is not None:
            _save(document, self.output)
        self.n_documents += 1
        asked = document.ratio_note if self.ratio_asked else None
        for note in (asked, *document.notices, document.unknown_note):
            self.n_notes += bool(note)
            if note and self.n_notes <= MOST_LINES:
                say(note)
        if self.as_json:
            print(json.dumps(_facts(document, seconds), ensure_ascii=False))
        elif self.n_documents <= MOST_LINES:
            say(describe(document, seconds) + ".")

    def end(self, failures: Sequence[Failure]) -> None:
        """Tell what was left unsaid, and which files are bad; then end with exit code 1."""
        if not self.as_json and (more := self.n_documents - MOST_LINES) > 0:
            say(f"{more:,} more documents have no line here; `e2llm library list` shows them.")
        if (more := self.n_notes - MOST_LINES) > 0:
            say(f"{more:,} more notes have no line here; --json has them all.")
        for name, reason in failures if self.as_json else ():
            print(json.dumps({"name": name, "error": reason}, ensure_ascii=False))
        list_failures(failures)
        if failures:
            raise typer.Exit(1)


def _read(
    names: Sequence[str], encodings: Encodings, alone: bool
) -> tuple[list[Source], list[Failure]]:
    """Read files; what is bad is listed, or raised where it was given alone."""
    sources: list[Source] = []
    failures: list[Failure] = []
    for shown, source in read_files(names, encodings):
        if isinstance(source, Source):
            sources.append(source)
        elif alone:
            raise source
        else:
            failures.append((shown, str(source)))
    return sources, failures


def _check(
    files: Sequence[str], output: Path | None, name: str | None, sync: bool, folder: bool
) -> None:
    if sync and not folder:
        raise UserError("`--sync` goes with a folder, whose files it compares with the library.")
    if folder and (output or name):
        raise UserError(
            f"`--{'output' if output else 'name'}` goes with one file, and a folder is given."
        )
    if len(files) > 1 and (output or name):
        raise UserError(
            f"`--{'output' if output else 'name'}` goes with one file, and {len(files)} are given."
        )
    if output is not None and output.suffix != SUFFIX:
        raise UserError(
            f"`--output` (={output}) must end in {SUFFIX}, by which `e2llm ask` knows it."
        )
    if output is not None and (output.is_dir() or not output.absolute().parent.is_dir()):
        raise UserError(
            f"`--output` (={output}) must name a file in a folder that exists; make the "
            "folder first."
        )


def _save(document: "CompressedDocument", output: Path) -> None:
    try:
        document.save(output)
    except OSError as error:
        raise E2LLMError(
            f"`--output` (={output}) cannot be written ({error.strerror or error}); "
            "choose another place."
        ) from error


def _facts(document: "CompressedDocument", seconds: float) -> dict[str, object]:
    return {
        "name": document.name,
        "key": document.key,
        "n_tokens": document.n_tokens,
        "n_soft": document.n_soft,
        "n_chunks": document.n_chunks,
        "ratio": document.ratio_got,
        "ratio_asked": document.ratio,
        "notices": list(document.notices),
        "compress_s": seconds,
    }
