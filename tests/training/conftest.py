"""Data that the tests of training read, and recipes, runs and batches over tiny models."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from e2llm.pair import E2LLM
from e2llm.training import stages
from e2llm.training.collator import Collator
from e2llm.training.data.sources import Source, SourceSettings, open_source
from e2llm.training.mixture import Batch, Mixture
from e2llm.training.objective import Objective
from e2llm.training.pair_to_train import load
from e2llm.training.parameters import choose_trained
from e2llm.training.recipe import Recipe, Stage, build
from e2llm.training.tasks import TASKS
from tests.training import writing
from tests.training.runs import TWO


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with texts.jsonl and questions.jsonl."""
    return writing.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def sources(data: Path) -> list[Source]:
    """The two sources, open."""
    return [
        open_source(SourceSettings(path=str(data / f"{name}.jsonl")))
        for name in ("texts", "questions")
    ]


@pytest.fixture
def make_recipe(bases: Path, data: Path, tmp_path: Path) -> Callable[..., Recipe]:
    """Make a recipe from stages and other fields, as YAML holds them."""

    def make(*stages: dict, output: str = "run", **changes: object) -> Recipe:
        return build(
            Recipe, writing.recipe(bases, data, tmp_path / output, *stages, **changes), "recipe"
        )

    return make


@pytest.fixture
def make_fields(bases: Path, data: Path, tmp_path: Path) -> Callable[..., dict]:
    """Make the fields of a recipe, as YAML holds them."""
    return lambda output, *stages, **changes: writing.recipe(
        bases, data, tmp_path / output, *stages, **changes
    )


@pytest.fixture
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Curves have a test of their own; drawing them takes longer than these runs."""
    monkeypatch.setattr(stages, "_plot", lambda output, say: None)


@pytest.fixture(scope="session")
def finished(
    bases: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Recipe, list[str], Path]:
    """A run of two stages that went well: the recipe, what was said, and the folder of the pair."""
    folder = tmp_path_factory.mktemp("finished")
    rates = {"adapter": 2e-2, "encoder": 1e-2, "decoder": 2e-2}
    long = writing.stage("read", steps=24, evaluate_every=12, batch_size=4, learning_rates=rates)
    fields = {"save_dtype": "bfloat16", "keep_embedding": 0.1}
    data = writing.write_data(folder / "data")
    recipe = build(
        Recipe, writing.recipe(bases, data, folder / "run", TWO[0], long, **fields), "recipe"
    )
    lines: list[str] = []
    return recipe, lines, stages.train(recipe, say=lines.append)


@pytest.fixture
def make_objective(make_recipe):
    """An objective with its batches of one stage that has every task."""

    def make(decoder="llama", encoder="bert", pair=None, stage=None, **changes):
        recipe = make_recipe(
            writing.stage(
                **{"tasks": {name: {} for name in TASKS}, "chunks": [3, 3], **(stage or {})}
            ),
            family=decoder,
            **changes,
        )
        folder = recipe.pair["encoder"].rpartition("-")[0]
        recipe = dataclasses.replace(
            recipe, pair={**recipe.pair, "encoder": f"{folder}-{encoder}", **(pair or {})}
        )
        torch.manual_seed(0)
        model, processor = load(recipe)
        objective = Objective(model, recipe)
        choose_trained(objective, recipe, recipe.stages[0])
        return SimpleNamespace(
            objective=objective, processor=processor, recipe=recipe, collator=Collator(processor)
        )

    return make


@pytest.fixture
def batch_of(sources):
    """A batch of one task at ratio 2: the shortest, the longest and a middle one of its samples."""

    def make(made, task):
        mixture = Mixture(made.recipe.stages[0], sources, made.processor, 42, 0, curriculum=False)
        samples = [
            sample
            for i in range(42)
            if mixture[i].task == task and mixture[i].ratio == 2
            for sample in mixture[i].samples
        ]
        samples.sort(key=lambda sample: sample.n_positions)
        return Batch(task, 2, [samples[0], samples[-1], samples[len(samples) // 2]])

    return make


@pytest.fixture
def make_mixture(pair, sources):
    """The batches of one short stage."""

    def make(n_batches=20, seed=0, own=None, curriculum=True, n_readers=1, **changes):
        return Mixture(
            build(Stage, writing.stage(**changes), "stage"),
            own or sources,
            pair.processor,
            n_batches,
            seed,
            curriculum,
            n_readers,
        )

    return make


@pytest.fixture(scope="module")
def plain(make_pair) -> E2LLM:
    """A pair whose decoder has no chat template."""
    return make_pair(decoder="plain", trained=True)
