"""One thing of a recipe varied: every variant trained and measured alike.

What is varied is data: a name in `ABLATIONS` with the values to try and a function (recipe, value)
-> recipe. A variant's folder `NAME=VALUE` holds its training run and its results, JSON Lines as
`evaluate` writes them, so that `e2llm report OUTPUT/*/results` sets the variants side by side.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from e2llm.benchmarks.data import Data
from e2llm.checks import check_choice, check_count
from e2llm.errors import UserError
from e2llm.evaluation import runner
from e2llm.evaluation.cells import main_score, of_benchmark, ordered, score_of
from e2llm.evaluation.results import read_results
from e2llm.evaluation.variations import ABLATIONS
from e2llm.pair import E2LLM
from e2llm.training.log import LOG_FILE, read_log
from e2llm.training.output import PAIR_FOLDER, RECIPE_FILE, stage_folder
from e2llm.training.recipe import Recipe
from e2llm.training.stages import train

# Of every figure and table of the ablations: what comes beside the pair under test. Without them
# there is no retention.
BESIDE = ("no-document", "full-text")


@dataclass(frozen=True)
class Variant:
    """What became of one value.

    Attributes:
        value: The value.
        folder: Holds `run` (where one was trained) and `results`.
        validation: The least validation loss of the last stage; None where nothing was trained.
        scores: Benchmark -> the score that it is known by, of `method`.
        missing: Methods and benchmarks that could not be had, and why.
    """

    value: Any
    folder: Path
    validation: float | None
    scores: dict[str, float]
    missing: dict[str, str]


def ablate(
    name: str,
    recipe: Recipe,
    output: Path,
    values: Sequence[Any] = (),
    steps: int | None = None,
    methods: Sequence[str] = BESIDE,
    benchmarks: Sequence[str] = ("squad",),
    scale: str = "quick",
    seed: int = 0,
    data: Data | None = None,
    limit_s: float = 600.0,
    say: Callable[[str], None] = print,
    samples: int | None = None,
) -> list[Variant]:
    """Train and measure one variant after the other; what `output` holds already is not done again.

    Args:
        name: In `ABLATIONS`.
        recipe: The base.
        output: Folder with a folder per variant.
        values: In place of the ablation's own.
        steps: Most steps of every stage; None for the recipe's.
        methods: Measured beside the variant, each on its decoder.
        benchmarks, scale, seed, data, limit_s, samples: As in `runner.evaluate`.
        say: Takes one line at a time of what happens.

    Raises:
        UserError: A name is unknown, or the base recipe has nothing that could be varied so.
    """
    ablation = ABLATIONS[check_choice("name", name, list(ABLATIONS))]
    # Everything that can be wrong is told before the first variant trains, which takes hours.
    runner.check_names([*methods, ablation.method], benchmarks, scale)
    tried = _recipes(name, recipe, values, steps)
    base = trained_pair(recipe) if ablation.change is None else ""
    variants = []
    for value, own in tried:
        # A value may be a path or the name of a model.
        folder = output / f"{name}={re.sub(r'[^A-Za-z0-9._-]+', '-', str(value))}"
        say(f"{name}={value}")
        path = base if own is None else run(own, folder / "run", say)
        pair = E2LLM.from_pretrained(path, dtype=recipe.dtype)
        # By this name a report knows a variant of an ablation.
        pair.name = f"{name}={value}"
        method = ablation.method.format(value=value)
        specs = ordered([*methods, method])
        results = folder / "results"
        outcome = runner.evaluate(
            pair, specs, benchmarks, results, scale, seed, data, limit_s, samples=samples
        )
        loss = None if own is None else least_loss(own, folder / "run")
        scores = scores_of(results, method)
        variants.append(Variant(value, folder, loss, scores, outcome.missing))
    return variants


def _recipes(
    name: str, recipe: Recipe, values: Sequence[Any], steps: int | None
) -> list[tuple[Any, Recipe | None]]:
    """Return every value with its recipe, None where nothing is trained.

    All are made before the first is trained, so that a value that cannot be is told at once.
    """
    ablation = ABLATIONS[name]
    values = list(values or ablation.values)
    if not values:
        raise UserError(
            f"`values` must name what to try: there is no list of every {name}; give two or "
            "more with commas between."
        )
    if ablation.change is None:
        return [(value, None) for value in values]
    return [(value, shortened(ablation.change(recipe, value), steps)) for value in values]


def shortened(recipe: Recipe, steps: int | None) -> Recipe:
    """Return a recipe whose stages have at most so many steps."""
    if steps is None:
        return recipe
    check_count("steps", steps, 1)
    stages = [
        replace(
            stage,
            steps=min(stage.steps, steps),
            evaluate_every=min(stage.evaluate_every, stage.steps, steps),
        )
        for stage in recipe.stages
    ]
    return replace(recipe, stages=tuple(stages))


def run(recipe: Recipe, folder: Path, say: Callable[[str], None]) -> Path:
    """Train in a folder, or go on there; return the pair's folder."""
    # A folder with a recipe holds a run: it goes on, or is refused where the recipe differs.
    return train(
        replace(recipe, output=str(folder)), resume=(folder / RECIPE_FILE).exists(), say=say
    )


def trained_pair(recipe: Recipe) -> str:
    """Return where the base recipe's own pair is.

    Raises:
        UserError: It has not been trained.
    """
    path = Path(recipe.output) / PAIR_FOLDER
    if path.is_dir():
        return str(path)
    # A recipe that only goes on from a pair, and changes nothing of it, can stand for that pair.
    if recipe.pair.keys() == {"model"}:
        return str(recipe.pair["model"])
    raise UserError(
        f"`recipe`: `{path}` is not there, and this ablation reads a trained pair; train it "
        "first: e2llm train RECIPE."
    )


def least_loss(recipe: Recipe, folder: Path) -> float:
    """Return the least validation loss of a run's last stage.

    It is that of reasoning, where the stage has that task.
    """
    log = stage_folder(folder, len(recipe.stages), recipe.stages[-1]) / LOG_FILE
    return min(line["eval_decisive"] for line in read_log(log) if "eval_decisive" in line)


def scores_of(folder: Path, method: str) -> dict[str, float]:
    """Return the score that each benchmark is known by, of one method."""
    results = read_results(folder)
    results.cells = [cell for cell in results.cells if cell["method"] == method]
    scores = {}
    for benchmark in ordered(cell["benchmark"] for cell in results.cells):
        own = of_benchmark(benchmark, results)
        main = main_score(own)
        value = score_of(main, own, 0) if main else None
        if main and value:
            scores[f"{benchmark}: {main}"] = round(value.value, 3)
    return scores
