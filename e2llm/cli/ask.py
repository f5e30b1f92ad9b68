"""`e2llm ask`: read documents, or what was read before, and answer questions about them."""

import io
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from e2llm.cli import options
from e2llm.cli.options import say
from e2llm.documents import formats
from e2llm.errors import UserError

if TYPE_CHECKING:
    from e2llm.documents.compressed import CompressedDocument
    from e2llm.pair import E2LLM, Answer


def ask(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE",
            help=f"{formats.names()}, .e2llm, a stored document's name, or - for standard input. "
            "None asks the decoder alone.",
        ),
    ] = None,
    question: Annotated[
        str | None,
        typer.Option(
            "--question", "-q", help="The question. Without it you are asked, again and again."
        ),
    ] = None,
    model: options.Model = "smol",
    ratio: options.Ratio = None,
    expand: Annotated[
        int | None,
        typer.Option(
            "--expand",
            "-x",
            help="Chunks to put back as text; 0 reads soft tokens alone. Default: the pair's own.",
        ),
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", help="Longest answer, in tokens.")
    ] = 256,
    temperature: Annotated[
        float, typer.Option("--temperature", help="0 is greedy; above 0 samples.")
    ] = 0.0,
    top_p: Annotated[
        float | None,
        typer.Option(
            "--top-p", help="Sample among the likeliest tokens of this total probability."
        ),
    ] = None,
    min_p: Annotated[
        float | None,
        typer.Option(
            "--min-p", help="Sample among tokens at least this share as likely as the likeliest."
        ),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option("--top-k", help="Sample among this many likeliest tokens.")
    ] = None,
    repetition_penalty: Annotated[
        float | None,
        typer.Option("--repetition-penalty", help="Above 1 makes repetition less likely."),
    ] = None,
    num_beams: Annotated[
        int,
        typer.Option(
            "--num-beams", help="Beams of a beam search; the answer then comes in one piece."
        ),
    ] = 1,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the sampling.")] = None,
    chunk_chars: options.ChunkChars = None,
    overlap_chars: options.OverlapChars = None,
    window: options.Window = None,
    encoding: options.Encoding = None,
    library: options.LibraryFolder = None,
    store: Annotated[
        bool, typer.Option("--store/--no-store", help="Keep what is read in the library.")
    ] = True,
    dtype: options.DType = None,
    device: options.Device = None,
    trust_remote_code: options.TrustRemoteCode = False,
    as_json: options.Json = False,
) -> None:
    """Answer a question about documents of any length."""
    from e2llm.cli.documents import (
        STDIN,
        Reading,
        describe,
        gather,
        load_stored,
        parse_chunker,
        parse_ratio,
    )
    from e2llm.documents.reading import Source
    from e2llm.engines import Sampling

    if not files and question is None:
        raise UserError("`FILE` must be given; or `--question`, to ask the decoder alone.")
    files = files or []
    if question is None and (as_json or sys.stdin is None or any(name in STDIN for name in files)):
        raise UserError(
            "`--question` must be given with --json and where standard input is a document "
            "or closed."
        )
    if question is not None and not question.strip():
        raise UserError("`--question` is blank; ask something.")
    if expand is not None and expand < 0:
        raise UserError(
            f"`--expand` (={expand}) must be at least 0 chunks; 0 reads soft tokens alone."
        )
    wanted_ratio = parse_ratio(ratio)
    sampling: dict[str, Any] = {
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "min_p": min_p,
        "top_k": top_k,
        "repetition_penalty": repetition_penalty,
        "num_beams": num_beams,
        "seed": seed,
    }
    Sampling(**sampling)  # a bad value is refused before anything slow
    question = question and _clean(question)
    shelf = options.open_library(library)
    found = gather(files, encoding, shelf)
    pair = options.load_model(model, dtype, device, trust_remote_code)
    chunker = parse_chunker(pair, chunk_chars, overlap_chars)
    known = [
        load_stored(shelf, item, pair.fingerprint) if isinstance(item, str) else item
        for item in found
    ]
    for item in known:
        if not isinstance(item, Source):
            item.check_fingerprint(pair.fingerprint)
    texts = [item.text for item in known if isinstance(item, Source)]
    if texts:
        n_soft = sum(item.n_soft for item in known if not isinstance(item, Source))
        fitting = pair.fit_ratio(
            texts,
            question or "",
            max_new_tokens,
            expand,
            chunker,
            wanted_ratio,
            n_soft,
            [item.name for item in known],
        )
        if fitting != (wanted_ratio or pair.config.ratio):
            say(
                f"At the pair's own ratio of {pair.config.ratio} this would not fit the "
                f"decoder's window; reading at {fitting}."
            )
        wanted_ratio = fitting
    reading = Reading(pair, shelf if store else None, wanted_ratio, chunker, window)
    documents, compress_s = [], []
    for item in known:
        document, seconds = reading.compress(item) if isinstance(item, Source) else (item, 0.0)
        documents.append(document)
        compress_s.append(seconds)
        if document.ratio_note:
            say(document.ratio_note)
    lines = [describe(*pair_of) for pair_of in zip(documents, compress_s, strict=True)]
    if question is not None:
        answer = _answer(pair, question, documents, expand, sampling, as_json)
        if as_json:
            print(json.dumps(_json(answer, documents, compress_s), ensure_ascii=False))
        else:
            _summary(lines, answer)
        return
    said: set[str] = set()
    for typed in _questions():
        try:
            answer = _answer(pair, typed, documents, expand, sampling)
        except UserError as error:
            say(f"e2llm: {error}")
            continue
        _summary(
            lines,
            replace(
                answer, notices=tuple(notice for notice in answer.notices if notice not in said)
            ),
        )
        lines = []
        said.update(answer.notices)


def _answer(
    pair: "E2LLM",
    question: str,
    documents: list["CompressedDocument"],
    expand: int | None,
    sampling: dict,
    silent: bool = False,
) -> "Answer":
    stream = pair.stream(question, documents, expand, **sampling)
    if silent:
        return stream.answer
    started = False
    for piece in stream:
        piece = piece if started else piece.lstrip()
        started = started or bool(piece)
        print(piece, end="", flush=True)
    print()
    return stream.answer


def _summary(lines: list[str], answer: "Answer") -> None:
    places = [
        f"{chunk.document} {chunk.start}-{chunk.end}"
        + (f" (page {chunk.page})" if chunk.page else "")
        for chunk in answer.expanded
    ]
    usage = answer.usage
    parts = [
        *lines,
        f"first token after {usage.first_token_s:.2f} s",
        f"{usage.positions:,} decoder positions",
        "expanded " + (", ".join(places) or "nothing"),
    ]
    say("[" + "; ".join(parts) + "]")
    for notice in answer.notices:
        say(f"Note: {notice}")


def _json(answer: "Answer", documents: list["CompressedDocument"], compress_s: list[float]) -> dict:
    return {
        "answer": answer.text,
        "expanded": [asdict(chunk) for chunk in answer.expanded],
        "usage": asdict(answer.usage),
        "documents": [
            {
                "name": document.name,
                "n_tokens": document.n_tokens,
                "n_soft": document.n_soft,
                "ratio": document.ratio_got,
                "ratio_asked": document.ratio,
                "compress_s": seconds,
            }
            for document, seconds in zip(documents, compress_s, strict=True)
        ],
        "notices": list(answer.notices),
    }


def _clean(typed: str) -> str:
    """Replace bytes that were no UTF-8, which Python hands on as half characters that no tokenizer
    takes.
    """
    return typed.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _questions() -> Iterator[str]:
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    # Where only one of the two is a terminal, a prompt would be part of the answers.
    at_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if sys.stdin.isatty():
        with suppress(ImportError):  # Windows has none
            import readline  # noqa: F401 - gives input() a history and editing
        say("Ask; an empty line ends.")
    while True:
        try:
            typed = input("> " if at_terminal else "")
        except EOFError:
            return
        if not typed.strip():
            return
        yield typed
