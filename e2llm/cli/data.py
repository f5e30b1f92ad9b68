"""`e2llm data`: look at training data before training on it, and let a teacher answer it."""

import importlib
import json
import logging
import os
import re
import statistics
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from e2llm.checks import check_count
from e2llm.cli import options
from e2llm.cli.options import console, say
from e2llm.errors import UserError

if TYPE_CHECKING:
    from e2llm.model.processing import E2LLMProcessor
    from e2llm.training.data import Record, Source

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Look at training data, and let a teacher answer it.",
)
_N_ERRORS = 5
_SAMPLE_CHARS = 160
_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")


@app.command()
def check(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH|NAME",
            help="A .jsonl or .jsonl.gz file, a folder of them or of documents, or a data set's "
            "name.",
        ),
    ],
    model: options.Model = "smol",
    split: Annotated[
        str, typer.Option("--split", help="Split of a folder or a data set.")
    ] = "train",
    limit: Annotated[
        int | None, typer.Option("--limit", help="Look only at the first so many records of each.")
    ] = None,
    samples: Annotated[int, typer.Option("--samples", help="Records to show of each.")] = 2,
    max_tokens: Annotated[
        int,
        typer.Option(
            "--max-tokens", help="Count documents and answers that are longer than so many tokens."
        ),
    ] = 8192,
    as_json: options.Json = False,
) -> None:
    """Read every record: print counts, lengths in the decoder's tokens, truncations and samples;
    refuse what is empty or malformed.
    """
    check_count("--samples", samples, 0)
    check_count("--max-tokens", max_tokens, 1)
    sources = open_sources(names, split, limit)
    processor = _processor(model)
    reports = []
    for source in sources:
        report = _read(source, processor, samples)
        for message in report.errors:
            say(message)
        reports.append(_facts(report, max_tokens))
        if not as_json:
            _print(reports[-1], max_tokens)
    if as_json:
        print(
            json.dumps(
                {"model": model, "max_tokens": max_tokens, "sources": reports}, ensure_ascii=False
            )
        )
    n_bad, n_records = (
        sum(report[count] for report in reports) for count in ("n_bad", "n_records")
    )
    if n_bad:
        raise UserError(
            f"{n_bad:,} of {n_records:,} records are empty or malformed; mend them or leave "
            "them out."
        )


@app.command()
def answer(
    name: Annotated[
        str,
        typer.Argument(
            metavar="PATH|NAME",
            help="Questions about documents, as `check` reads them; their answers are not used.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="A .jsonl file of records; what it holds is kept, and an interrupted run goes on "
            "there.",
        ),
    ],
    model: options.Model = "smol",
    split: Annotated[
        str, typer.Option("--split", help="Split of a folder or a data set.")
    ] = "train",
    limit: Annotated[
        int | None, typer.Option("--limit", help="Answer only the first so many records.")
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", help="Longest answer, in tokens.")
    ] = 64,
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
    options.quiet()
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from e2llm.training.teaching import teach

    (source,) = open_sources([name], split, limit)
    pair = options.load_model(model, dtype, device, trust_remote_code)
    counts: Counter[str] = Counter()
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        for outcome in bar.track(
            teach(pair, source, output, max_new_tokens),
            total=len(source),
            description=f"Answering {source.name}",
        ):
            counts[outcome] += 1
    say(
        f"{output}: "
        + ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(counts.items()))
        + "."
    )


@dataclass
class _Report:
    """What was found in a source: token counts of what is well formed, and what is wrong with the
    rest.
    """

    name: str
    n_records: int
    kind: str = ""
    documents: dict[int, int] = field(default_factory=dict)  # hash of the text -> tokens
    questions: list[int] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    samples: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)  # the first few
    n_bad: int = 0


def open_sources(names: Sequence[str], split: str, limit: int | None) -> list["Source"]:
    from e2llm.training.data import SourceSettings, open_source
    from e2llm.training.data.lines import SUFFIXES

    sources = []
    for name in names:
        if os.path.exists(name) or name.endswith(SUFFIXES) or not _HUB_NAME.fullmatch(name):
            settings = SourceSettings(path=name, split=split, limit=limit)
        else:
            _quiet_datasets()
            settings = SourceSettings(dataset=name, split=split, limit=limit)
        source = open_source(settings, check=False)
        if not len(source):
            source.check()
        sources.append(source)
    return sources


def _quiet_datasets() -> None:
    """Let `datasets` say nothing but how far it is, and that on a terminal alone; what goes wrong
    is raised.
    """
    try:
        datasets: Any = importlib.import_module("datasets")
    except ImportError:
        return  # which opening the source explains
    if not console.is_terminal:
        datasets.disable_progress_bars()
    for name in ("datasets", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _processor(model: str) -> "E2LLMProcessor":
    """Load a pair's tokenizers, without its weights."""
    options.quiet()
    from e2llm.model.checkpoint import load_processor
    from e2llm.model.configuration import E2LLMConfig
    from e2llm.pairs import find_pair

    path = find_pair(model)
    try:
        config = E2LLMConfig.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"`--model` (={model!r}) is no pair; name a folder that `e2llm pair` made, a hub "
            "name, or a shipped pair."
        ) from error
    return load_processor(path, config)


def _read(source: "Source", processor: "E2LLMProcessor", n_samples: int) -> _Report:
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    report = _Report(source.name, len(source), source.kind)
    shown = set(source.permutation(seed=0, epoch=0)[:n_samples].tolist())
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        for index in bar.track(range(len(source)), description=f"Reading {source.name}"):
            try:
                record = source[index]
            except UserError as error:
                report.n_bad += 1
                if report.n_bad <= _N_ERRORS:
                    report.errors.append(str(error))
                continue
            _count(record, processor, report)
            if index in shown:
                report.samples.append(_sample(record))
    return report


def _count(record: "Record", processor: "E2LLMProcessor", report: _Report) -> None:
    from e2llm.training.data import QuestionRecord

    document = record.context if isinstance(record, QuestionRecord) else record.text
    if hash(document) not in report.documents:
        report.documents[hash(document)] = len(processor.text_ids(document))
    if isinstance(record, QuestionRecord):
        report.questions.append(len(processor.text_ids(record.question)))
        report.answers += [len(processor.text_ids(answer)) for answer in record.answers]


def _sample(record: "Record") -> str:
    from e2llm.training.data import QuestionRecord

    if isinstance(record, QuestionRecord):
        return (
            f"{record.id}: {_shorten(record.question)} -> {_shorten(record.answers[0])} | "
            f"{_shorten(record.context)}"
        )
    return f"{record.id}: {_shorten(record.text)}"


def _shorten(text: str) -> str:
    return textwrap.shorten(text[: 4 * _SAMPLE_CHARS], _SAMPLE_CHARS, placeholder=" ...")


def _facts(report: _Report, max_tokens: int) -> dict[str, Any]:
    lengths = {
        "documents": list(report.documents.values()),
        "questions": report.questions,
        "answers": report.answers,
    }
    return {
        "name": report.name,
        "kind": report.kind,
        "n_records": report.n_records,
        "n_bad": report.n_bad,
        "errors": report.errors,
        "n_documents": len(report.documents),
        "tokens": {
            what: {"min": min(tokens), "median": statistics.median_low(tokens), "max": max(tokens)}
            for what, tokens in lengths.items()
            if tokens
        },
        "n_truncated": {
            what: sum(count > max_tokens for count in lengths[what])
            for what in ("documents", "answers")
        },
        "samples": report.samples,
    }


def _print(facts: dict[str, Any], max_tokens: int) -> None:
    print(
        f"{facts['name']}: {facts['n_records']:,} {facts['kind']} records, "
        f"{facts['n_documents']:,} documents, {facts['n_bad']:,} malformed"
    )
    for what, tokens in facts["tokens"].items():
        over = (
            f", {facts['n_truncated'][what]:,} longer than {max_tokens:,}"
            if what in facts["n_truncated"]
            else ""
        )
        print(
            f"  {what:<9}  {tokens['min']:,} / {tokens['median']:,} / {tokens['max']:,} "
            f"tokens (min / median / max){over}"
        )
    for sample in facts["samples"]:
        print(f"  {sample}")
