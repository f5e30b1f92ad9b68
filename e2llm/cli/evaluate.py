"""`e2llm evaluate`: measure a pair and its rivals on benchmarks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import TextColumn, TimeElapsedColumn

from e2llm.cli import options
from e2llm.cli.loading import load_model
from e2llm.cli.terminal import progress_bar, quiet, report_missing, say

Output = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        help="Folder of results; what it holds is kept, and an interrupted run goes on there.",
    ),
]
Methods = Annotated[
    str,
    typer.Option(
        "--methods",
        help='Names with commas between; "all" that need no fitting; settings after colons: '
        "all,e2llm:ratio=16,cepe:weights=FOLDER.",
    ),
]
Benchmarks = Annotated[
    str, typer.Option("--benchmarks", help='Names with commas between, or "all".')
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the choice of samples.")]
Limit = Annotated[
    float,
    typer.Option(
        "--limit-s",
        help="Longest that one document with one question may take, in seconds, as predicted.",
    ),
]


def evaluate(
    output: Output,
    model: options.Model = "smol",
    methods: Methods = "all",
    benchmarks: Benchmarks = "all",
    scale: options.Scale = "quick",
    data: options.Data = None,
    seed: Seed = 0,
    samples: options.Samples = None,
    limit_s: Limit = 600.0,
    dtype: options.DType = None,
    device: options.Device = None,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Measure a pair and its rivals on benchmarks; `e2llm report` makes tables and figures of the
    results.

    Exit code 3 where a method or a benchmark could not be had; the others have run.
    """
    quiet()
    from e2llm.benchmarks.data import Data
    from e2llm.evaluation import runner

    chosen_methods, chosen_benchmarks = _chosen(methods, benchmarks)
    runner.check_names(chosen_methods, chosen_benchmarks, scale)
    local = Data(data)
    pair = load_model(model, dtype, device, trust_remote_code)
    with _measuring() as progress:
        outcome = runner.evaluate(
            pair,
            chosen_methods,
            chosen_benchmarks,
            output,
            scale,
            seed,
            local,
            limit_s,
            progress,
            samples,
        )
    kept = f", {outcome.n_kept:,} were there" if outcome.n_kept else ""
    say(
        f"{outcome.path}: {outcome.n_done:,} cells measured, {outcome.n_skipped:,} could not "
        f"run{kept}."
    )
    report_missing(outcome.missing)


def _chosen(methods: str, benchmarks: str) -> tuple[list[str], list[str]]:
    """Return the names that were typed; "all" leaves out methods that need fitting."""
    from e2llm.benchmarks import BENCHMARKS
    from e2llm.methods import METHODS, trainable_names

    fitted = trainable_names()
    ready = [name for name in METHODS if name not in fitted]
    names = [name for part in methods.split(",") for name in (ready if part == "all" else [part])]
    return names, list(BENCHMARKS) if benchmarks == "all" else benchmarks.split(",")


@contextmanager
def _measuring() -> Iterator[Callable[[float, float, str], None]]:
    """Yield what shows how far the work has come; it first says how long that may take."""
    bar = progress_bar(TimeElapsedColumn(), TextColumn("left:"), transient=False)
    task = bar.add_task("", total=None)
    begun = False

    def progress(done: float, total: float, what: str) -> None:
        nonlocal begun
        if not begun:  # only now: an error before it is a line alone
            begun = True
            if total:
                say(
                    f"At most about {max(1, round(total / 60)):,} min, should every "
                    "answer be as long as it may."
                )
            bar.start()
        bar.update(task, completed=done, total=total, description=f"{what:<36}")

    try:
        yield progress
    finally:
        bar.stop()
