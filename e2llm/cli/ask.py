"""`e2llm ask`: answer questions about documents, reading them where need be."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from e2llm.cli import options
from e2llm.cli.conversation import Conversation, clean
from e2llm.cli.documents import (
    STDIN,
    gather,
    load_found,
    parse_bytes,
    parse_chunker,
    parse_ratio,
)
from e2llm.cli.folder_reading import Failure, FolderReading, as_sources, list_failures
from e2llm.cli.loading import load_model, open_library, uncollected
from e2llm.cli.reading import Reading
from e2llm.cli.terminal import say
from e2llm.documents import formats
from e2llm.documents.encodings import Encodings
from e2llm.documents.file_tree import FileTree
from e2llm.documents.source import Source
from e2llm.errors import ReadError, UserError

if TYPE_CHECKING:
    from e2llm import E2LLM, Chunker, CompressedDocument

Files = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FILE",
        help=f"{formats.names()}, .e2llm, a stored document's name, - for standard input, a "
        "folder, or a pattern such as 'notes/**/*.md'. None asks the decoder alone.",
    ),
]
Question = Annotated[
    str | None,
    typer.Option(
        "--question", "-q", help="The question. Without it you are asked, again and again."
    ),
]
Expand = Annotated[
    int | None,
    typer.Option(
        "--expand",
        "-x",
        help="In place of a plan: all soft tokens, and so many chunks as text; 0 for none.",
    ),
]
ShowPlan = Annotated[
    bool, typer.Option("--plan", help="Print in which form each part stood in the prompt.")
]
MaxNewTokens = Annotated[int, typer.Option("--max-new-tokens", help="Longest answer, in tokens.")]
Temperature = Annotated[float, typer.Option("--temperature", help="0 is greedy; above 0 samples.")]
TopP = Annotated[
    float | None,
    typer.Option("--top-p", help="Sample among the likeliest tokens of this total probability."),
]
MinP = Annotated[
    float | None,
    typer.Option(
        "--min-p", help="Sample among tokens at least this share as likely as the likeliest."
    ),
]
TopK = Annotated[
    int | None, typer.Option("--top-k", help="Sample among this many likeliest tokens.")
]
RepetitionPenalty = Annotated[
    float | None,
    typer.Option("--repetition-penalty", help="Above 1 makes repetition less likely."),
]
NumBeams = Annotated[
    int,
    typer.Option("--num-beams", help="Beams of a beam search; the answer then comes in one piece."),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of the sampling.")]
Refuse = Annotated[
    bool,
    typer.Option("--refuse/--no-refuse", help="Say so where the documents do not hold the answer."),
]
Store = Annotated[
    bool, typer.Option("--store/--no-store", help="Keep what is read in the library.")
]


def ask(
    files: Files = None,
    question: Question = None,
    model: options.Model = "smol",
    ratio: options.Ratio = None,
    budget: options.Budget = None,
    whole: options.Whole = False,
    show_plan: ShowPlan = False,
    expand: Expand = None,
    max_new_tokens: MaxNewTokens = 256,
    temperature: Temperature = 0.0,
    top_p: TopP = None,
    min_p: MinP = None,
    top_k: TopK = None,
    repetition_penalty: RepetitionPenalty = None,
    num_beams: NumBeams = 1,
    seed: Seed = None,
    refuse: Refuse = True,
    chunk_chars: options.ChunkChars = None,
    overlap_chars: options.OverlapChars = None,
    window: options.Window = None,
    encoding: options.Encoding = None,
    max_size: options.MaxSize = options.MAX_SIZE,
    library: options.LibraryFolder = None,
    store: Store = True,
    dtype: options.DType = None,
    device: options.Device = None,
    trust_remote_code: options.TrustRemoteCode = False,
    as_json: options.Json = False,
) -> None:
    """Answer a question about documents of any length."""
    with uncollected():
        from e2llm import Sampling

    files = files or []
    _check(files, question, expand, budget, whole, as_json)
    question = question and clean(question)
    wanted_ratio = parse_ratio(ratio)
    # A bad value is refused before anything slow.
    drawn = (temperature, top_p, top_k, min_p, repetition_penalty, num_beams, seed)
    sampling = Sampling(max_new_tokens, *drawn)
    shelf = open_library(library)
    # Files are opened and names looked up before the pair is loaded, which takes longer.
    encodings, failures = Encodings.parse(encoding or []), list[Failure]()
    found = gather(files, encodings, shelf, parse_bytes("--max-size", max_size))
    # The ratio is chosen by the length of all texts.
    found = _open_trees(found, encodings, failures) if expand is not None else found
    pair = load_model(model, dtype, device, trust_remote_code)
    chunker = parse_chunker(pair, chunk_chars, overlap_chars)
    items = load_found(found, shelf, pair.fingerprint)
    asked = (question or "", max_new_tokens, expand)
    wanted_ratio = _fit_ratio(pair, items, *asked, chunker, wanted_ratio)
    if not files:
        say("Note: no document was given: the decoder answers from memory.")
    reading = Reading(pair, shelf if store else None, wanted_ratio, chunker, window)
    asking = {"expand": expand, "budget": budget, "whole": whole, "refuse": refuse}
    asking |= asdict(sampling)
    read = _read(reading, items, encodings, failures)
    Conversation(pair, *read, asking, show_plan, failures).hold(question, as_json)


def _check(
    files: Sequence[str],
    question: str | None,
    expand: int | None,
    budget: int | None,
    whole: bool,
    as_json: bool,
) -> None:
    if not files and question is None:
        raise UserError("`FILE` must be given; or `--question`, to ask the decoder alone.")
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
    if budget is not None and budget < 1:
        raise UserError(f"`--budget` (={budget}) must be at least 1 decoder position.")
    if expand is not None and whole:
        raise UserError("`--whole` plans by budget: leave `--expand` out.")


def _fit_ratio(
    pair: "E2LLM",
    items: Sequence["Source | CompressedDocument | FileTree"],
    question: str,
    max_new_tokens: int,
    expand: int | None,
    chunker: "Chunker | None",
    ratio: float | str | None,
) -> float | str | None:
    """Return the ratio to read at so that all fits the window, and say where it is a higher one.

    A plan fits at any ratio; for it is checked that there is room for a plan at all.
    """
    if expand is None:
        if items:
            pair.reader.check_room(question or "?", max_new_tokens)
        return ratio
    texts = [item.text for item in items if isinstance(item, Source)]
    if not texts:
        return ratio
    others = [item for item in items if not isinstance(item, (Source, FileTree))]
    n_soft = sum(document.n_soft for document in others)
    names = [item.name for item in items if not isinstance(item, FileTree)]
    beside = {"ratio": ratio, "n_soft": n_soft, "names": names}
    fitting = pair.fit_ratio(texts, question, max_new_tokens, expand, chunker, **beside)
    if fitting != (ratio or pair.config.ratio):
        say(
            f"At the pair's own ratio of {pair.config.ratio} this would not fit the decoder's "
            f"window; reading at {fitting}."
        )
    return fitting


def _open_trees(
    found: Sequence["Source | CompressedDocument | FileTree | str"],
    encodings: Encodings,
    failures: list[Failure],
) -> list["Source | CompressedDocument | FileTree | str"]:
    opened: list[Source | CompressedDocument | FileTree | str] = []
    for item in found:
        if isinstance(item, FileTree):
            sources, bad = as_sources(item, encodings)
            opened += sources
            failures += bad
        else:
            opened.append(item)
    if found and not opened:
        list_failures(failures)
        raise _nothing([item.root for item in found if isinstance(item, FileTree)])
    return opened


def _nothing(roots: Sequence[str]) -> ReadError:
    return ReadError(f"`FILE` (={roots[0]}) holds no file that can be read; give another.")


def _read(
    reading: Reading,
    items: Sequence["Source | CompressedDocument | FileTree"],
    encodings: Encodings,
    failures: list[Failure],
) -> tuple[list["CompressedDocument"], list[float]]:
    """Return the documents and the seconds that each took to read; 0 where it was read before.

    Files that cannot be read are said.
    """
    made = reading.compress([item for item in items if isinstance(item, Source)])
    read: list[tuple[CompressedDocument, float]] = []
    for item in items:
        if isinstance(item, FileTree):
            folder = FolderReading(reading, item, encodings, reading.library, failures)
            read += folder.in_order()
        else:
            read.append(next(made) if isinstance(item, Source) else (item, 0.0))
    list_failures(failures)
    if items and not read:
        raise _nothing([item.root for item in items if isinstance(item, FileTree)])
    return [document for document, _ in read], [seconds for _, seconds in read]
