"""Recipes: read from YAML, checked, compared."""

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from e2llm.errors import UserError
from e2llm.training.recipe import PartSettings, Recipe, Stage, TaskSettings, build
from tests.training import writing


@pytest.fixture
def fields(bases, data, tmp_path):
    return writing.recipe(bases, data, tmp_path / "run")


def refusal(data):
    with pytest.raises(UserError) as caught:
        build(Recipe, data, "recipe")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def with_stage(fields, **changes):
    return fields | {"stages": [writing.stage(**changes)]}


def test_a_recipe_comes_back_from_yaml_and_from_json_as_it_was(fields, tmp_path):
    recipe = build(Recipe, fields, "recipe")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe.as_dict()))
    assert Recipe.read(tmp_path / "recipe.yaml") == recipe
    assert build(Recipe, json.loads(json.dumps(recipe.as_dict())), "recipe") == recipe


@pytest.mark.parametrize(
    "path",
    sorted((Path(__file__).parents[2] / "configs").glob("*.yaml")),
    ids=lambda path: path.stem,
)
def test_the_recipes_that_ship_are_read(path, monkeypatch):
    monkeypatch.setenv("E2LLM_DATA", "/data")
    recipe = Recipe.read(path)
    assert all(
        source.path.startswith("/data/") if source.path else source.dataset
        for source in recipe.sources
    )
    assert all(
        isinstance(rate, float) for stage in recipe.stages for rate in stage.learning_rates.values()
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stagse": []}, "did you mean 'stages'?"),
        (
            {"encoder": {"rnak": 4}},
            "`recipe.encoder` (='rnak') must be one of mode, rank, alpha, dropout, targets; "
            "did you mean 'rank'?",
        ),
        ({"sources": [{"pth": "x"}]}, "`recipe.sources[0]` (='pth') must be one of path, dataset"),
        (
            {"encoder": {"mode": "lroa"}},
            "`mode` (='lroa') must be one of lora, full; did you mean 'lora'?",
        ),
    ],
)
def test_a_name_that_is_mistyped_gets_the_nearest(fields, change, message):
    assert message in refusal(fields | change)


def test_a_task_that_is_mistyped_gets_the_nearest(fields):
    assert "did you mean 'reasoning'?" in refusal(with_stage(fields, tasks={"reasonin": {}}))


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"seed": "many"}, "`recipe.seed` (='many') must be a whole number"),
        ({"seed": 1.5}, "`recipe.seed` (=1.5) must be a whole number"),
        ({"log_every": float("inf")}, "`recipe.log_every` (=inf) must be a whole number"),
        ({"keep_embedding": "much"}, "`recipe.keep_embedding` (='much') must be a number"),
        ({"keep_embedding": True}, "`recipe.keep_embedding` (=True) must be a number"),
        (
            {"gradient_checkpointing": "no"},
            "`recipe.gradient_checkpointing` (='no') must be true or false",
        ),
        (
            {"gradient_checkpointing": 1},
            "`recipe.gradient_checkpointing` (=1) must be true or false",
        ),
        ({"output": ["a"]}, "`recipe.output` (=['a']) must be a word"),
        ({"encoder": [1]}, "`recipe.encoder` must be a mapping"),
        ({"trainer": [1]}, "`recipe.trainer` must be a mapping"),
        ({"stages": None}, "`recipe.stages` is empty"),
        ({"stages": ["read"]}, "`recipe.stages[0]` must be a mapping"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_its_name(fields, change, where):
    assert where in refusal(fields | change)


@pytest.mark.parametrize("field", ["output", "stages", "sources"])
def test_a_missing_field_is_named(fields, field):
    del fields[field]
    assert refusal(fields) == f"`recipe` must say `{field}`."


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"stages": []}, "`stages`"),
        ({"sources": []}, "`sources`"),
        ({"pair": {"encoder": "a"}}, "`pair`"),
        (
            {"pair": {"model": "smol", "adapter": "mlp"}},
            "which it goes on from with its own adapter; what may change is chunk_chars, "
            "overlap_chars",
        ),
        ({"loss": "median"}, "`loss`"),
        ({"dtype": "float33"}, "`dtype` (='float33')"),
        ({"save_dtype": "int8"}, "`save_dtype`"),
        ({"validation_fraction": 0.5}, "`validation_fraction`"),
        ({"validation_samples": 0}, "`validation_samples`"),
        ({"log_every": 0}, "`log_every`"),
        ({"keep_embedding": -1}, "`keep_embedding`"),
        ({"quantize": "4bit", "decoder": {"mode": "full"}}, "set `decoder.mode` to lora"),
        ({"encoder": {"rank": 0}}, "`rank`"),
        ({"encoder": {"alpha": 0}}, "`alpha`"),
        ({"encoder": {"dropout": 2}}, "`dropout`"),
    ],
)
def test_a_field_that_breaks_its_rule_is_named(fields, change, where):
    assert where in refusal(fields | change)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"name": "a/b"}, "it names a folder"),
        ({"steps": 0}, "`steps`"),
        ({"learning_rates": {}}, "`learning_rates`"),
        ({"learning_rates": {"adpter": 1e-3}}, "did you mean 'adapter'?"),
        ({"learning_rates": {"adapter": -1e-3}}, "`learning_rates.adapter` (=-0.001)"),
        ({"learning_rates": {"adapter": float("nan")}}, "`learning_rates.adapter` (=nan)"),
        ({"tasks": {"reasoning": {"share": 0}}}, "share above 0"),
        ({"tasks": {"reasoning": {"share": -1}}}, "`share`"),
        ({"ratios": []}, "`ratios`"),
        ({"ratios": [0.5]}, "`ratio` (=0.5)"),
        ({"ratios": [[4]]}, "`ratio` (=[4])"),
        ({"chunks": [3, 1]}, "`chunks`"),
        ({"chunks": 4}, "`chunks`"),
        ({"schedule": "cosin"}, "did you mean 'cosine'?"),
        ({"warmup": 2}, "`warmup`"),
        ({"chunks_growth": -0.1}, "`chunks_growth`"),
        ({"patience": 0}, "`patience`"),
    ],
)
def test_a_field_of_a_stage_that_breaks_its_rule_is_named(fields, change, where):
    assert where in refusal(with_stage(fields, **change))


def test_two_stages_of_one_name_are_refused(fields):
    assert "names of their own" in refusal(fields | {"stages": [writing.stage(), writing.stage()]})


def test_a_number_that_yaml_takes_for_a_word_is_a_number(fields, tmp_path):
    text = yaml.safe_dump(fields).replace("adapter: 0.005", "adapter: 1e-4")
    assert yaml.safe_load(text)["stages"][0]["learning_rates"]["adapter"] == "1e-4"
    (tmp_path / "recipe.yaml").write_text(text)
    assert Recipe.read(tmp_path / "recipe.yaml").stages[0].learning_rates["adapter"] == 1e-4


def test_a_variable_is_put_in_and_one_that_is_not_set_is_named(fields, tmp_path, monkeypatch):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(fields | {"output": "${TOWN_RUNS}/one"}))
    monkeypatch.setenv("TOWN_RUNS", "/runs")
    assert Recipe.read(tmp_path / "recipe.yaml").output == "/runs/one"
    monkeypatch.delenv("TOWN_RUNS")
    with pytest.raises(
        UserError, match=r"speaks of \$\{TOWN_RUNS\}, which is not set; export TOWN_RUNS="
    ):
        Recipe.read(tmp_path / "recipe.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"a: [1", "is not YAML"),
        (b"\xff\xfe\x00a", "is not UTF-8"),
        (b"", "must be a mapping"),
        (b"- 1", "must be a mapping"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "recipe.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        Recipe.read(path)
    assert "\n" not in str(caught.value)


def test_the_difference_names_the_field_that_changed_and_no_other(fields):
    recipe = build(Recipe, fields, "recipe")
    old = json.loads(json.dumps(recipe.as_dict()))
    assert recipe.difference(old) == []
    assert dataclasses.replace(recipe, seed=1).difference(old) == ["seed: 0 -> 1"]
    longer = dataclasses.replace(recipe, stages=(dataclasses.replace(recipe.stages[0], steps=9),))
    assert longer.difference(old) == ["stages[0].steps: 6 -> 9"]
    more = dataclasses.replace(
        recipe, stages=(*recipe.stages, dataclasses.replace(recipe.stages[0], name="more"))
    )
    assert "stages[1].name: absent -> more" in more.difference(old)
    fewer = dataclasses.replace(recipe, sources=recipe.sources[:1])
    assert any(
        line.startswith("sources[1].path: ") and line.endswith(" -> absent")
        for line in fewer.difference(old)
    )


def test_where_a_run_is_written_and_what_it_says_may_change(fields):
    recipe = build(Recipe, fields, "recipe")
    moved = dataclasses.replace(recipe, output="elsewhere", report_to=("tensorboard",), log_every=7)
    assert moved.difference(recipe.as_dict()) == []


def test_every_field_of_a_recipe_is_described():
    for kind in (Recipe, Stage, TaskSettings, PartSettings):
        described = (kind.__doc__ or "").split("Attributes:")[1]
        for field in dataclasses.fields(kind):
            assert field.name in described or field.name in (
                "seed",
                "max_grad_norm",
                "log_every",
            ), field.name
