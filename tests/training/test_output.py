"""The folder of a run: whose it is, and what is refused there."""

import dataclasses
from pathlib import Path

import pytest

from e2llm.errors import UserError
from e2llm.training.data.sources import SourceSettings
from e2llm.training.output import PAIR_FOLDER
from e2llm.training.stages import train
from tests.training import writing
from tests.training.runs import run, trained

pytestmark = pytest.mark.usefixtures("no_curves")


def test_a_recipe_that_has_changed_is_refused_and_the_change_is_shown(make_recipe):
    recipe = make_recipe(writing.stage(steps=1))
    run(recipe)
    changed = make_recipe(writing.stage(steps=2), seed=3)
    with pytest.raises(
        UserError, match=r"of another recipe \(stages\[0\].steps: 1 -> 2; seed: 0 -> 3\)"
    ):
        train(changed, resume=True)


def test_a_folder_that_holds_a_run_is_refused_without_resume(make_recipe):
    recipe = make_recipe(writing.stage(steps=1))
    run(recipe)
    before = trained(recipe.output)
    with pytest.raises(UserError, match="holds a run already; add --resume"):
        train(recipe)
    assert trained(recipe.output) == before


def test_a_damaged_recipe_file_is_refused(make_recipe):
    recipe = make_recipe(writing.stage(steps=1))
    Path(recipe.output).mkdir()
    (Path(recipe.output) / "recipe.json").write_text("{")
    with pytest.raises(UserError, match=r"recipe\.json is damaged"):
        train(recipe, resume=True)


def test_resuming_what_has_not_begun_begins_it(make_recipe):
    recipe = make_recipe(writing.stage(steps=1))
    run(recipe, resume=True)
    assert (Path(recipe.output) / PAIR_FOLDER / "config.json").exists()


def test_a_mistake_in_the_recipe_leaves_no_run_behind(make_recipe, tmp_path):
    recipe = make_recipe(writing.stage(steps=1))
    missing = dataclasses.replace(
        recipe, sources=(SourceSettings(path=str(tmp_path / "none.jsonl")),)
    )
    with pytest.raises(UserError, match=r"none\.jsonl"):
        train(missing)
    with pytest.raises(UserError, match="decoder-none"):
        train(dataclasses.replace(recipe, pair={**recipe.pair, "decoder": "decoder-none"}))
    assert not Path(recipe.output).exists()
    run(recipe)
