"""`e2llm train`: train a pair as a recipe says."""

from pathlib import Path
from typing import Annotated

import typer

from e2llm.cli.terminal import quiet, say


def train(
    recipe: Annotated[
        Path,
        typer.Argument(
            metavar="RECIPE", help="A YAML file: pair, sources, stages (see docs/guides/train.md)."
        ),
    ],
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the interrupted run in the recipe's output folder."
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder of the run, in place of the recipe's.", file_okay=False
        ),
    ] = None,
) -> None:
    """Train a pair: checkpoints, log, curves and the pair go to the recipe's output folder."""
    from dataclasses import replace

    quiet()
    from e2llm.training.processes import is_main_process
    from e2llm.training.recipe import Recipe
    from e2llm.training.stages import train as run

    read = Recipe.read(recipe)
    if output is not None:
        read = replace(read, output=str(output))
    pair = run(read, resume, say)
    if is_main_process():
        say(f'Trained: {pair}. Ask it: e2llm ask FILE -m {pair} -q "..."')
