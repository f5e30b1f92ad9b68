"""What an ablation varies: every recipe differs from its base in one thing."""

from dataclasses import replace

import pytest

from e2llm.errors import UserError
from e2llm.evaluation import variations
from e2llm.evaluation.variations import ABLATIONS, in_chunks


@pytest.mark.parametrize(
    ("name", "value", "changed"),
    [
        ("understanding-weight", 10, ["stages[1].tasks.understanding.weight: 0.5 -> 10.0"]),
        ("lora", "both", []),
        ("lora", "encoder", ["stages[1].learning_rates.decoder: 0.005 -> absent"]),
        ("lora", "decoder", ["stages[1].learning_rates.encoder: 0.002 -> absent"]),
        (
            "lora",
            "none",
            [
                "stages[1].learning_rates.decoder: 0.005 -> absent",
                "stages[1].learning_rates.encoder: 0.002 -> absent",
            ],
        ),
        ("adapter", "vpma", ["pair.adapter: absent -> vpma"]),
        ("pooling", "cls", ["pair.pooling: absent -> cls"]),
        ("ratio", "chunk", ["pair.ratio: 4 -> chunk", "stages[1].ratios: [2, 4] -> ['chunk']"]),
        ("overlap-chars", 32, ["pair.overlap_chars: absent -> 32"]),
        ("window", 2, ["pair.window_chunks: absent -> 2"]),
        ("decoder", "other", None),
        ("encoder", "other", None),
    ],
)
def test_a_variant_differs_from_its_base_in_one_thing(recipe, name, value, changed):
    change = ABLATIONS[name].change
    assert change is not None
    found = sorted(change(recipe, value).difference(recipe.as_dict()))
    assert (
        found == changed
        if changed is not None
        else [line.split(":")[0] for line in found] == [f"pair.{name}"]
    )


def test_every_ablation_but_those_of_reading_and_the_parts_has_values_that_make_recipes(recipe):
    for name, ablation in ABLATIONS.items():
        assert ablation.values or name in ("encoder", "decoder")
        assert (
            all(ablation.change(recipe, value).stages for value in ablation.values)
            if ablation.change
            else name in ("expand", "chunking")
        )


@pytest.mark.parametrize(
    ("chars", "stage", "task"),
    [(60, (2, 6), (2, 4)), (120, (1, 3), (1, 2)), (240, (1, 2), (1, 1)), (2_000, (1, 1), (1, 1))],
)
def test_samples_hold_the_same_text_whatever_the_size_of_a_chunk(recipe, chars, stage, task):
    own = in_chunks(recipe, chars)
    assert own.pair["chunk_chars"] == chars
    assert (own.stages[1].chunks, own.stages[1].tasks["understanding"].chunks) == (stage, task)
    assert own.stages[1].tasks["reasoning"].chunks is None


def test_a_stage_that_trains_nothing_any_more_falls_away(recipe):
    alone = replace(recipe.stages[1], name="decoder alone", learning_rates={"decoder": 1e-3})
    own = variations.train_lora(replace(recipe, stages=(*recipe.stages, alone)), "encoder")
    assert [stage.name for stage in own.stages] == ["align", "read"]


def test_a_recipe_without_understanding_has_no_weight_of_it(recipe):
    with pytest.raises(UserError, match="no stage with the task understanding"):
        variations.weigh_understanding(replace(recipe, stages=recipe.stages[:1]), 1)


def test_chunks_of_another_size_hold_the_text_that_those_of_the_pair_to_go_on_from_held(recipe):
    trained = replace(recipe, pair={"model": "smol"})  # chunks of 512 characters
    own = in_chunks(trained, 1024)
    assert own.pair == {"model": "smol", "chunk_chars": 1024}
    assert own.stages[1].chunks == tuple(max(1, round(n / 2)) for n in recipe.stages[1].chunks)
