"""`e2llm compress`: read documents once and keep them."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from e2llm.cli import options
from e2llm.cli.documents import SUFFIX, describe, parse_chunker, parse_ratio
from e2llm.cli.loading import load_model, open_library, uncollected
from e2llm.cli.reading import Reading
from e2llm.cli.terminal import say
from e2llm.documents import formats
from e2llm.documents.reading import read
from e2llm.errors import E2LLMError, UserError

if TYPE_CHECKING:
    from e2llm import CompressedDocument

Files = Annotated[
    list[str], typer.Argument(metavar="FILE", help=f"{formats.names()}, or - for standard input.")
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
    library: options.LibraryFolder = None,
    dtype: options.DType = None,
    device: options.Device = None,
    trust_remote_code: options.TrustRemoteCode = False,
    as_json: JsonLines = False,
) -> None:
    """Compress documents once, to be asked many times; of a text that has grown, only the new tail
    is read.
    """
    with uncollected():
        from e2llm.documents.library import check_name

    _check(files, output, name)
    wanted_ratio = parse_ratio(ratio)
    # All files are opened before the pair is loaded, so that a bad one is refused at once.
    sources = [read(file, encoding) for file in files]
    if name is not None:
        check_name(name, "--name")
        sources = [replace(sources[0], name=name)]
    shelf = None if output else open_library(library)
    pair = load_model(model, dtype, device, trust_remote_code)
    chunker = parse_chunker(pair, chunk_chars, overlap_chars)
    reading = Reading(pair, shelf, wanted_ratio, chunker, window, must_store=True)
    for document, seconds in reading.compress(sources):
        if output is not None:
            _save(document, output)
        asked = document.ratio_note if wanted_ratio is not None else None
        for note in (asked, *document.notices, document.unknown_note):
            if note:
                say(note)
        if as_json:
            print(json.dumps(_facts(document, seconds), ensure_ascii=False))
        else:
            say(describe(document, seconds) + ".")


def _check(files: Sequence[str], output: Path | None, name: str | None) -> None:
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
