"""Benchmarks cut short, so that every method runs over every one in seconds, and one such run."""

from dataclasses import replace
from pathlib import Path

import pytest

from e2llm.benchmarks import BENCHMARKS, Benchmark
from e2llm.evaluation import runner
from e2llm.evaluation.results import Results, read_results
from e2llm.methods import METHODS
from e2llm.training import stages
from e2llm.training.recipe import Recipe, build
from tests.benchmarks.small import make_data
from tests.evaluation.made import small_results
from tests.training import writing

STAGES = (
    writing.stage(
        "align",
        steps=2,
        evaluate_every=1,
        learning_rates={"adapter": 5e-3},
        tasks={"alignment": {}},
        ratios=[1],
    ),
    writing.stage(
        "read",
        steps=2,
        evaluate_every=1,
        tasks={"understanding": {"weight": 0.5, "chunks": [1, 2]}, "reasoning": {}},
    ),
)


class Short(Benchmark):
    """The first samples of a benchmark, with the start of their documents."""

    def __init__(self, whole: Benchmark, n_samples: int = 2, n_chars: int = 200) -> None:
        self.whole, self.n_samples, self.n_chars = whole, n_samples, n_chars
        self.name, self.metrics, self.max_new_tokens = whole.name, whole.metrics, 3  # type: ignore[misc]
        self.perplexity, self.by_position = whole.perplexity, whole.by_position  # type: ignore[misc]

    def load(self, scale, seed, data):
        samples = self.whole.load(scale, seed, data)[: self.n_samples]
        n_answer = self.n_chars if self.by_position else 60
        return [
            replace(
                sample,
                document=sample.document[: self.n_chars],
                answers=tuple(a[:n_answer] for a in sample.answers),
            )
            for sample in samples
        ]


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Small data of every data set."""
    return make_data(tmp_path_factory.mktemp("data"))


SHORT = {name: Short(benchmark) for name, benchmark in BENCHMARKS.items()}


@pytest.fixture
def short(monkeypatch) -> None:
    """Every benchmark is short."""
    monkeypatch.setattr(runner, "BENCHMARKS", SHORT)


@pytest.fixture(scope="session")
def folder(trained_pair, data, tmp_path_factory) -> Path:
    """Results of every method over every benchmark."""
    output = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "BENCHMARKS", SHORT)
        outcome = runner.evaluate(trained_pair, list(METHODS), list(BENCHMARKS), output, data=data)
    assert outcome.missing == {}
    return output


@pytest.fixture(scope="session")
def results(folder) -> Results:
    """The same, read."""
    return read_results(folder)


@pytest.fixture
def small() -> Results:
    """Results made by hand."""
    return small_results()


@pytest.fixture(scope="session")
def recipe(bases, tmp_path_factory) -> Recipe:
    """A base recipe of two stages."""
    folder = tmp_path_factory.mktemp("ablation")
    return build(
        Recipe,
        writing.recipe(bases, writing.write_data(folder / "data"), folder / "base", *STAGES),
        "recipe",
    )


@pytest.fixture
def no_curves(monkeypatch):
    """Curves have a test of their own."""
    monkeypatch.setattr(stages, "_plot", lambda output, say: None)
