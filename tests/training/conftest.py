"""Data that the tests of training read, and recipes over tiny models."""

from collections.abc import Callable
from pathlib import Path

import pytest

from e2llm.training.data.sources import Source, SourceSettings, open_source
from e2llm.training.recipe import Recipe, build
from tests.training import writing


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
