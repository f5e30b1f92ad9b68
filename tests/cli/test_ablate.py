"""`e2llm ablate`: from a recipe to a line of JSON."""

import pytest
import yaml

from tests.benchmarks.small import make_data
from tests.cli.running import run
from tests.training import writing


@pytest.fixture
def recipe(world, tmp_path):
    """A recipe of one short stage, as a file."""
    content = writing.recipe(
        world,
        writing.write_data(tmp_path / "training"),
        tmp_path / "base",
        writing.stage(steps=1, evaluate_every=1),
    )
    content["pair"] |= {"encoder": str(world / "encoder"), "decoder": str(world / "decoder")}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_an_ablation_ends_with_one_line_of_json(recipe, tmp_path):
    data = make_data(tmp_path / "data", ("squad",)).folder
    arguments = ("--values", "linear", "--methods", "no-document", "--data", data, "-o", "out")
    found = run("ablate", "adapter", recipe, *arguments).json
    assert found["ablation"] == "adapter"
    [variant] = found["variants"]
    assert (variant["value"], list(variant["scores"])) == ("linear", ["squad: f1"])
    assert variant["validation"] > 0
    assert (tmp_path / variant["folder"] / "results").is_dir()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("adaptor",), "did you mean 'adapter'?"),
        (("encoder",), "`values` must name what to try"),
        (("expand",), "train it first: e2llm train RECIPE"),
        (("adapter", "--steps", "0"), "`steps` (=0)"),
    ],
)
def test_mistakes_are_told_in_one_line(recipe, arguments, words):
    name, *options = arguments
    assert words in run("ablate", name, recipe, *options, "-o", "out").mistake
