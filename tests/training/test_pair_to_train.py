"""What a recipe trains: a new pair, or one to go on from, with LoRA where it is to be."""

import dataclasses
from pathlib import Path

import pytest
import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file

from e2llm.errors import UserError
from e2llm.pair import E2LLM
from e2llm.training.output import PAIR_FOLDER
from e2llm.training.pair_to_train import load
from e2llm.training.parameters import choose_trained, part_of
from e2llm.training.recipe import PartSettings
from tests import tiny
from tests.training import writing
from tests.training.runs import ADAPTER_ONLY, run

pytestmark = pytest.mark.usefixtures("no_curves")


def test_training_goes_on_from_a_trained_pair(make_recipe, finished):
    _, _, folder = finished
    recipe = make_recipe(writing.stage(steps=2), pair={"model": str(folder)})
    run(recipe)
    again = E2LLM.from_pretrained(Path(recipe.output) / PAIR_FOLDER, dtype="float32", device="cpu")
    assert (
        again.fingerprint
        != E2LLM.from_pretrained(folder, dtype="float32", device="cpu").fingerprint
    )


def test_a_trained_pair_goes_on_with_a_wider_lora_where_the_recipe_asks_for_it(
    make_recipe, finished
):
    _, _, folder = finished
    recipe = make_recipe(writing.stage(steps=2), pair={"model": str(folder)}, decoder={"rank": 5})
    run(recipe)
    weights = load_file(Path(recipe.output) / PAIR_FOLDER / "lora" / "adapter_model.safetensors")
    assert {
        part: {
            w.shape[0] for name, w in weights.items() if f".{part}." in name and "lora_A" in name
        }
        for part in ("encoder", "decoder")
    } == {
        "encoder": {2},
        "decoder": {5},
    }
    E2LLM.from_pretrained(
        Path(recipe.output) / PAIR_FOLDER, dtype="float32", device="cpu"
    ).compress(tiny.TEXT)


def test_a_pair_whose_encoder_alone_has_lora_goes_on_with_lora_on_its_decoder_too(make_recipe):
    rates = {"adapter": 1e-2, "encoder": 1e-2}
    first = make_recipe(writing.stage(steps=2, learning_rates=rates), output="first")
    run(first)
    folder = Path(first.output) / PAIR_FOLDER
    pair = E2LLM.from_pretrained(folder, dtype="float32", device="cpu")
    recipe = make_recipe(
        writing.stage(steps=2),
        pair={"model": str(folder)},
        decoder={"rank": 3, "targets": ["q_proj"]},
        output="second",
    )
    model, _ = load(recipe)
    factors = {name: parameter for name, parameter in model.named_parameters() if "lora_A" in name}
    assert {(part_of(name), factor.shape[0]) for name, factor in factors.items()} == {
        ("encoder", 2),
        ("decoder", 3),
    }
    assert {name.split(".")[-4] for name in factors if part_of(name) == "decoder"} == {"q_proj"}
    saved = load_file(folder / "lora" / "adapter_model.safetensors")
    assert all(
        torch.equal(saved[name.replace(".default", "")], factor)
        for name, factor in factors.items()
        if part_of(name) == "encoder"
    )
    assert not any(
        parameter.any()
        for name, parameter in model.named_parameters()
        if "lora_B" in name and part_of(name) == "decoder"
    )
    short, _ = load(dataclasses.replace(recipe, dtype="bfloat16"))
    assert {parameter.dtype for name, parameter in short.named_parameters() if "lora_" in name} == {
        torch.float32
    }
    run(recipe)
    again = E2LLM.from_pretrained(Path(recipe.output) / PAIR_FOLDER, dtype="float32", device="cpu")
    before, after = (dict(one.base.decoder.named_parameters()) for one in (pair, again))
    changed = {name.split(".")[-2] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"q_proj"}


def test_a_trained_pair_goes_on_with_other_chunks_and_another_ratio(make_recipe, finished):
    _, _, folder = finished
    recipe = make_recipe(
        writing.stage(steps=2),
        pair={"model": str(folder), "chunk_chars": 60, "ratio": "chunk", "expand": 1},
    )
    run(recipe)
    pair = E2LLM.from_pretrained(Path(recipe.output) / PAIR_FOLDER, dtype="float32", device="cpu")
    assert (pair.config.chunk_chars, pair.config.ratio, pair.config.expand) == (60, "chunk", 1)
    document = pair.compress(tiny.TEXT)
    assert (
        document.n_soft
        == len(document.chunks)
        > len(
            E2LLM.from_pretrained(folder, dtype="float32", device="cpu").compress(tiny.TEXT).chunks
        )
    )


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("overlap_chars", 1000, r"`overlap` \(=1000\)"),
        ("chunk_chars", "512", "`size`"),
        ("expand", "many", "`expand`"),
        ("expand", 1.5, "`expand`"),
        ("window_chunks", "two", "`window_chunks`"),
        ("ratio", "half", "`ratio`"),
        ("adapter", "mlp", "goes on from"),
    ],
)
def test_what_a_trained_pair_cannot_go_on_with_is_told(
    make_recipe, finished, field, value, message
):
    with pytest.raises(UserError, match=message):
        load(make_recipe(writing.stage(), pair={"model": str(finished[2]), field: value}))


def test_a_pair_that_was_trained_whole_goes_on_with_other_chunks_too(make_recipe):
    first = make_recipe(
        writing.stage(steps=1), decoder={"mode": "full"}, encoder={"mode": "full"}, output="first"
    )
    run(first)
    second = make_recipe(
        writing.stage(steps=1),
        pair={"model": str(Path(first.output) / PAIR_FOLDER), "chunk_chars": 60, "ratio": "chunk"},
    )
    run(second)
    pair = E2LLM.from_pretrained(Path(second.output) / PAIR_FOLDER, dtype="float32", device="cpu")
    assert (pair.config.chunk_chars, pair.config.ratio) == (60, "chunk")


def test_a_recipe_that_names_no_rank_leaves_the_lora_that_it_goes_on_from_as_wide_as_it_is(
    make_recipe, finished
):
    _, _, folder = finished
    model, _ = load(
        make_recipe(writing.stage(), pair={"model": str(folder)}, encoder={}, decoder={})
    )
    assert {
        parameter.shape[0] for name, parameter in model.named_parameters() if "lora_A" in name
    } == {2}
    new, _ = load(make_recipe(writing.stage(), encoder={}, decoder={"alpha": 8.0}))
    assert {
        parameter.shape[0] for name, parameter in new.named_parameters() if "lora_A" in name
    } == {16}
    assert {
        part_of(name): layer.scaling["default"]
        for name, layer in new.named_modules()
        if isinstance(layer, LoraLayer)
    } == {
        "encoder": 2.0,
        "decoder": 0.5,
    }


def test_each_part_has_a_learning_rate_and_a_rank_of_its_own(make_recipe):
    recipe = make_recipe(writing.stage(steps=1), encoder={"rank": 3, "alpha": 5.0})
    recipe = dataclasses.replace(recipe, decoder=PartSettings(rank=2))
    model, _ = load(recipe)
    ranks = {
        part_of(name): parameter.shape[0]
        for name, parameter in model.named_parameters()
        if "lora_A" in name
    }
    assert ranks == {"encoder": 3, "decoder": 2}
    scales = {
        part_of(name): layer.scaling["default"]
        for name, layer in model.named_modules()
        if isinstance(layer, LoraLayer)
    }
    assert scales == {"encoder": 5 / 3, "decoder": 2.0}


def test_lora_reaches_the_layers_that_a_recipe_names_and_no_others(make_recipe, finished):
    places = {"rank": 2, "targets": ["q_proj", "v_proj"]}
    model, _ = load(make_recipe(writing.stage(), decoder=places))
    reached = {
        part: {
            name.rpartition(".")[2]
            for name, layer in getattr(model.get_base_model(), part).named_modules()
            if isinstance(layer, LoraLayer)
        }
        for part in ("encoder", "decoder")
    }
    assert reached == {
        "encoder": {"query", "key", "value", "dense"},
        "decoder": {"q_proj", "v_proj"},
    }
    with pytest.raises(
        UserError, match=r"`decoder.targets` \(='q_prj'\) must be one of .* did you mean 'q_proj'"
    ):
        load(make_recipe(writing.stage(), decoder={"targets": ["q_prj"]}))
    with pytest.raises(UserError, match=r"`targets` \(=\[\]\)"):
        make_recipe(writing.stage(), decoder={"targets": []})
    with pytest.raises(UserError, match=r"`targets` .* is for LoRA"):
        make_recipe(writing.stage(), decoder={"mode": "full", "targets": ["q_proj"]})
    with pytest.raises(UserError, match=r"`decoder.targets` .* places of its own"):
        load(make_recipe(writing.stage(), pair={"model": str(finished[2])}, decoder=places))


def test_a_part_in_which_there_is_nothing_to_train_is_refused(make_recipe):
    adapter_alone = make_recipe(writing.stage("align", **ADAPTER_ONLY))
    model, _ = load(adapter_alone)
    with pytest.raises(
        UserError, match=r"`learning_rates.decoder` of stage 'read' trains nothing of this pair"
    ):
        choose_trained(model, adapter_alone, make_recipe(writing.stage()).stages[0])
