"""`e2llm data`: look at training data, and let a teacher answer it."""

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import MofNCompleteColumn

from e2llm.checks import check_count
from e2llm.cli import options
from e2llm.cli.loading import load_model, load_processor
from e2llm.cli.source_report import SourceReport
from e2llm.cli.terminal import progress_bar, quiet, quiet_datasets, say
from e2llm.errors import UserError

if TYPE_CHECKING:
    from e2llm.training.data import Source

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Look at training data, and let a teacher answer it.",
)
_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")

Split = Annotated[str, typer.Option("--split", help="Split of a folder or a data set.")]
Names = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH|NAME",
        help="A .jsonl or .jsonl.gz file, a folder of them or of documents, or a data set's name.",
    ),
]
FirstRead = Annotated[
    int | None, typer.Option("--limit", help="Look only at the first so many records of each.")
]
SamplesShown = Annotated[int, typer.Option("--samples", help="Records to show of each.")]
MaxTokens = Annotated[
    int,
    typer.Option(
        "--max-tokens", help="Count documents and answers that are longer than so many tokens."
    ),
]
Name = Annotated[
    str,
    typer.Argument(
        metavar="PATH|NAME",
        help="Questions about documents, as `check` reads them; their answers are not used.",
    ),
]
Output = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        help="A .jsonl file of records; what it holds is kept, and an interrupted run goes on "
        "there.",
    ),
]
FirstAnswered = Annotated[
    int | None, typer.Option("--limit", help="Answer only the first so many records.")
]
MaxNewTokens = Annotated[int, typer.Option("--max-new-tokens", help="Longest answer, in tokens.")]


@app.command()
def check(
    names: Names,
    model: options.Model = "smol",
    split: Split = "train",
    limit: FirstRead = None,
    samples: SamplesShown = 2,
    max_tokens: MaxTokens = 8192,
    as_json: options.Json = False,
) -> None:
    """Read every record: print counts, lengths in the decoder's tokens, truncations and samples;
    refuse what is empty or malformed.
    """
    check_count("--samples", samples, 0)
    check_count("--max-tokens", max_tokens, 1)
    sources = open_sources(names, split, limit)
    processor = load_processor(model)
    reports = []
    for source in sources:
        report = SourceReport.read(source, processor, samples)
        for message in report.errors:
            say(message)
        if not as_json:
            report.print(max_tokens)
        reports.append(report)
    if as_json:
        facts = [report.facts(max_tokens) for report in reports]
        whole = {"model": model, "max_tokens": max_tokens, "sources": facts}
        print(json.dumps(whole, ensure_ascii=False))
    n_bad = sum(report.n_bad for report in reports)
    n_records = sum(report.n_records for report in reports)
    if n_bad:
        raise UserError(
            f"{n_bad:,} of {n_records:,} records are empty or malformed; mend them or leave "
            "them out."
        )


@app.command()
def answer(
    name: Name,
    output: Output,
    model: options.Model = "smol",
    split: Split = "train",
    limit: FirstAnswered = None,
    max_new_tokens: MaxNewTokens = 64,
    dtype: options.DType = None,
    device: options.Device = None,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Let the pair's untrained decoder read each document as text and write the answers that
    training is to follow (distillation).
    """
    check_count("--max-new-tokens", max_new_tokens, 1)
    if output.suffix != ".jsonl":
        raise UserError(f"`--output` (={str(output)!r}) must end in .jsonl, as training data does.")
    quiet()
    from e2llm.training.teaching import teach

    (source,) = open_sources([name], split, limit)
    pair = load_model(model, dtype, device, trust_remote_code)
    output.parent.mkdir(parents=True, exist_ok=True)
    outcomes = teach(pair, source, output, max_new_tokens)
    with progress_bar(MofNCompleteColumn()) as bar:
        counts = Counter(bar.track(outcomes, len(source), description=f"Answering {source.name}"))
    told = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(counts.items()))
    say(f"{output}: {told}.")


def open_sources(names: Sequence[str], split: str, limit: int | None) -> list["Source"]:
    """Open files, folders and data sets of training records by name."""
    from e2llm.training.data import SourceSettings, open_source
    from e2llm.training.data.lines import SUFFIXES

    sources = []
    for name in names:
        if os.path.exists(name) or name.endswith(SUFFIXES) or not _HUB_NAME.fullmatch(name):
            settings = SourceSettings(path=name, split=split, limit=limit)
        else:
            quiet_datasets()
            settings = SourceSettings(dataset=name, split=split, limit=limit)
        source = open_source(settings, check=False)
        if not len(source):
            source.check()
        sources.append(source)
    return sources
