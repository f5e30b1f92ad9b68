"""`e2llm report`: tables and figures of results."""

from pathlib import Path
from typing import Annotated

import typer

from e2llm.cli.terminal import say


def report(
    results: Annotated[
        list[Path],
        typer.Argument(metavar="RESULTS...", help="Folders that `e2llm evaluate` wrote."),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Folder to write; an earlier report in it is replaced."
        ),
    ],
    compare: Annotated[
        str,
        typer.Option(
            "--compare",
            help="The method to set against every other, sample by sample. Default: the first of "
            "E2LLM's.",
        ),
    ] = "",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the bootstrap.")] = 0,
) -> None:
    """Make tables (Markdown, LaTeX, CSV), figures (PNG, SVG) and one HTML page of results."""
    from e2llm.evaluation.report import make_report

    written = make_report(results, output, seed, compare)
    say(f"{output / 'index.html'}: the page; {len(written):,} files in all.")
