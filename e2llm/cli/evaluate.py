"""`e2llm evaluate`: measure a pair and its rivals on benchmarks."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from e2llm.cli import options
from e2llm.cli.options import console, say


def evaluate(
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Folder of results; what it holds is kept, and an interrupted run goes on there.",
        ),
    ],
    model: options.Model = "smol",
    methods: Annotated[
        str,
        typer.Option(
            "--methods",
            help='Names with commas between; "all" that need no fitting; settings after colons: all,e2llm:ratio=16,cepe:weights=FOLDER.',
        ),
    ] = "all",
    benchmarks: Annotated[
        str, typer.Option("--benchmarks", help='Names with commas between, or "all".')
    ] = "all",
    scale: options.Scale = "quick",
    data: options.Data = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the choice of samples.")] = 0,
    samples: options.Samples = None,
    limit_s: Annotated[
        float,
        typer.Option(
            "--limit-s",
            help="Longest that one document with one question may take, in seconds, as predicted.",
        ),
    ] = 600.0,
    dtype: options.DType = None,
    device: options.Device = None,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Measure a pair and its rivals on benchmarks; `e2llm report` makes tables and figures of the
    results.

    Exit code 3 where a method or a benchmark could not be had; the others have run.
    """
    options.quiet()
    from e2llm.benchmarks import BENCHMARKS
    from e2llm.benchmarks.data import Data
    from e2llm.evaluation import runner
    from e2llm.methods import METHODS, trainable_names

    fitted = trainable_names()
    ready = [name for name in METHODS if name not in fitted]
    chosen_methods = [
        name for part in methods.split(",") for name in (ready if part == "all" else [part])
    ]
    chosen_benchmarks = list(BENCHMARKS) if benchmarks == "all" else benchmarks.split(",")
    runner.check_names(chosen_methods, chosen_benchmarks, scale)
    local = Data(data)
    pair = options.load_model(model, dtype, device, trust_remote_code)
    columns = (
        TextColumn("{task.description:<36}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console)
    task = bar.add_task("Measuring ...", total=None)
    with ExitStack() as stack:

        def progress(done: float, total: float, what: str) -> None:
            if not bar.live.is_started:  # only now: an error before it is a line alone
                if total:
                    say(
                        f"At most about {max(1, round(total / 60)):,} min, should every "
                        "answer be as long as it may."
                    )
                stack.enter_context(bar)
            bar.update(task, completed=done, total=total, description=what)

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
    options.report_missing(outcome.missing)
