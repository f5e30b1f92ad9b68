"""`e2llm ablate`: vary one thing of a recipe, train and measure every variant."""

import json
from pathlib import Path
from typing import Annotated

import typer

from e2llm.cli import options
from e2llm.cli.terminal import quiet, report_missing, say

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="understanding-weight, lora, adapter, pooling, ratio, chunk-chars, overlap-chars, "
        "window (late chunking), encoder, decoder, expand and chunking (no training: the recipe's "
        "trained pair is read), or search (Optuna chooses chunk size, overlap, ratio and "
        "chunking).",
    ),
]
BaseRecipe = Annotated[
    Path,
    typer.Argument(metavar="RECIPE", help="The base: a YAML file as `e2llm train` takes it."),
]
Output = Annotated[
    Path,
    typer.Option(
        "--output", "-o", help="Folder with a folder per variant; what it holds is not done again."
    ),
]
Values = Annotated[
    str, typer.Option("--values", help="Values with commas between. Default: the ablation's own.")
]
Steps = Annotated[
    int | None,
    typer.Option("--steps", help="Most steps of every stage. Default: the recipe's."),
]
Methods = Annotated[
    str,
    typer.Option("--methods", help="Methods to measure beside each variant, with commas between."),
]
Benchmarks = Annotated[str, typer.Option("--benchmarks", help="Benchmarks with commas between.")]
Seed = Annotated[
    int, typer.Option("--seed", help="Seed of the choice of samples, and of the search.")
]
Trials = Annotated[int, typer.Option("--trials", help="Trials of the search.")]


def ablate(
    name: Name,
    recipe: BaseRecipe,
    output: Output,
    values: Values = "",
    steps: Steps = None,
    methods: Methods = "no-document,full-text",
    benchmarks: Benchmarks = "squad",
    scale: options.Scale = "quick",
    samples: options.Samples = None,
    data: options.Data = None,
    seed: Seed = 0,
    trials: Trials = 20,
) -> None:
    """Vary one thing of a recipe, train every variant and measure it; `e2llm report
    OUTPUT/*/results` sets them side by side.

    Ends with one line of JSON. Exit code 3 where a method or a benchmark could not be had.
    """
    quiet()
    from e2llm.benchmarks.data import Data
    from e2llm.checks import check_choice
    from e2llm.evaluation import ablations, search, variations
    from e2llm.training.recipe import Recipe

    check_choice("NAME", name, [*variations.ABLATIONS, "search"])
    base = Recipe.read(recipe)
    if name == "search":
        front = search.search(base, output, trials, steps, seed, say)
        print(json.dumps({"ablation": name, "front": front}))
        return
    variants = ablations.ablate(
        name,
        base,
        output,
        [_value(text) for text in values.split(",") if text],
        steps,
        [spec for spec in methods.split(",") if spec],
        benchmarks.split(","),
        scale,
        seed,
        Data(data),
        say=say,
        samples=samples,
    )
    lines = [
        {
            "value": own.value,
            "validation": own.validation,
            "scores": own.scores,
            "folder": str(own.folder),
        }
        for own in variants
    ]
    print(json.dumps({"ablation": name, "variants": lines}))
    report_missing({what: reason for own in variants for what, reason in own.missing.items()})


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
