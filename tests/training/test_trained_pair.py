"""The pair that a run leaves: loaded again, with what was trained and nothing else."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from e2llm.pair import E2LLM
from e2llm.reading.planner import UNTRAINED_SOFT
from e2llm.training.checkpoints import TRAINED_FILE
from e2llm.training.output import PAIR_FOLDER
from tests import tiny
from tests.training import writing
from tests.training.runs import run

pytestmark = pytest.mark.usefixtures("no_curves")


def test_the_trained_pair_is_loaded_says_that_it_is_trained_and_answers(finished):
    recipe, _, folder = finished
    assert folder == Path(recipe.output) / PAIR_FOLDER
    pair = E2LLM.from_pretrained(folder, dtype="float32", device="cpu")
    assert pair.config.trained
    answer = pair.ask("Who keeps the river?", pair.compress(tiny.TEXT), expand=0, max_new_tokens=4)
    assert answer.usage.n_soft > 0
    assert UNTRAINED_SOFT not in answer.notices


def test_the_pair_holds_what_was_trained_beside_the_names_of_its_bases(finished):
    recipe, _, folder = finished
    assert (folder / "lora" / "adapter_model.safetensors").exists()
    assert all(
        ".adapter." in name or ".lora_" in name
        for name in load_file(folder / "lora" / "adapter_model.safetensors")
    )
    files = sorted(folder.rglob("*.safetensors"))
    assert sum(file.stat().st_size for file in files) < 200_000
    assert {file.stat().st_mode & 0o777 for file in files} == {
        (folder / "config.json").stat().st_mode & 0o777
    }
    assert not list(Path(recipe.output).glob(".*"))


def test_the_pair_is_the_best_checkpoint_of_the_last_stage(finished):
    recipe, _, folder = finished
    state = load_file(Path(recipe.output) / "2-read" / TRAINED_FILE)
    saved = load_file(folder / "lora" / "adapter_model.safetensors")
    for name, tensor in saved.items():
        (own,) = [
            value
            for key, value in state.items()
            if key.replace(".modules_to_save", "").replace(".default", "").endswith(name)
        ]
        torch.testing.assert_close(tensor, own.to(tensor.dtype), msg=name)


def test_full_mode_writes_every_weight_and_the_pair_is_loaded_from_them(make_recipe, bases):
    full = {"mode": "full"}
    recipe = make_recipe(writing.stage(steps=2), encoder=full, decoder=full)
    run(recipe)
    folder = Path(recipe.output) / PAIR_FOLDER
    assert not (folder / "lora").exists()
    assert json.loads((folder / "config.json").read_text())["decoder_name"] is None
    pair = E2LLM.from_pretrained(folder, dtype="float32", device="cpu")
    state = load_file(Path(recipe.output) / "1-read" / TRAINED_FILE)
    for name, parameter in pair.model.named_parameters():
        assert torch.equal(parameter, state[f"model.{name}"]), name
    assert pair.config.trained


def test_lora_on_one_part_and_full_training_of_the_other_are_saved_whole(make_recipe):
    recipe = make_recipe(writing.stage(steps=2), encoder={"mode": "full"})
    run(recipe)
    pair = E2LLM.from_pretrained(Path(recipe.output) / PAIR_FOLDER, dtype="float32", device="cpu")
    assert pair.config.trained
    assert not (Path(recipe.output) / PAIR_FOLDER / "lora").exists()
    assert pair.ask("Who?", pair.compress(tiny.TEXT), expand=0, max_new_tokens=2).usage.n_soft


def test_a_pair_whose_lora_has_places_is_saved_and_loaded(make_recipe):
    recipe = make_recipe(
        writing.stage(steps=2),
        encoder={"rank": 2, "targets": ["query"]},
        decoder={"rank": 2, "targets": ["o_proj", "up_proj"]},
    )
    run(recipe)
    weights = load_file(Path(recipe.output) / PAIR_FOLDER / "lora" / "adapter_model.safetensors")
    places = {name.split(".lora_")[0].rpartition(".")[2] for name in weights if ".lora_" in name}
    assert places == {"query", "o_proj", "up_proj"}
    pair = E2LLM.from_pretrained(Path(recipe.output) / PAIR_FOLDER, dtype="float32", device="cpu")
    base = E2LLM.pair(recipe.pair["encoder"], recipe.pair["decoder"], dtype="float32", device="cpu")
    for part in ("encoder", "decoder"):
        own, other = (dict(getattr(model.base, part).named_parameters()) for model in (pair, base))
        changed = {
            name.split(".")[-2]
            for name, tensor in own.items()
            if not torch.equal(tensor, other[name])
        }
        assert changed == places & ({"query"} if part == "encoder" else {"o_proj", "up_proj"})
