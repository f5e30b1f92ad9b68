"""What transformers' Trainer is told: the recipe has the last word."""

from pathlib import Path

import pytest

from e2llm.errors import UserError
from e2llm.training.arguments import training_arguments


@pytest.mark.parametrize(
    "fields",
    [{"no_such_field": 1}, {"optim": "no_such_optimizer"}, {"lr_scheduler_type": "upwards"}],
)
def test_a_field_of_the_library_that_is_wrong_is_refused(make_recipe, fields):
    recipe = make_recipe(trainer=fields)
    with pytest.raises(UserError, match=r"`trainer`: .*") as caught:
        training_arguments(recipe, recipe.stages[0], Path(recipe.output))
    assert "\n" not in str(caught.value)


def test_the_recipe_has_the_last_word_over_the_librarys_fields(make_recipe):
    recipe = make_recipe(trainer={"weight_decay": 0.1})
    assert training_arguments(recipe, recipe.stages[0], Path(recipe.output)).weight_decay == 0.1
