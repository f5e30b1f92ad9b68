"""Whole runs of tiny pairs: what is said, what is trained, what comes out."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import DataLoader, Subset
from transformers import set_seed

from e2llm.errors import UserError
from e2llm.pair import E2LLM
from e2llm.training.checkpoints import TRAINED_FILE
from e2llm.training.output import PAIR_FOLDER
from e2llm.training.pair_to_train import load
from e2llm.training.parameters import part_of
from e2llm.training.stages import train
from e2llm.training.tasks import TASKS
from e2llm.training.trainer import StageTrainer
from tests import tiny
from tests.training import writing
from tests.training.runs import TWO, log, run, trained

pytestmark = pytest.mark.usefixtures("no_curves")


def test_the_loss_falls(finished):
    recipe, _, _ = finished
    losses = [line["loss"] for line in log(recipe.output, "2-read") if "loss" in line]
    assert len(losses) == 24
    assert sum(losses[-5:]) < sum(losses[:5]) - 0.2


def test_there_is_a_line_per_log_step_with_the_loss_per_task_and_ratio_the_pace_and_the_time_left(
    finished,
):
    _, lines, _ = finished
    assert lines[0].startswith("Training ")
    assert "texts (" in lines[0]
    steps = [line for line in lines if line.startswith("read ") and "validation" not in line]
    assert [line.split()[1] for line in steps] == [f"{step}/24" for step in range(1, 25)]
    assert all("@" in line and "positions/s" in line and line.endswith("left") for line in steps)
    assert sum("validation" in line for line in lines) == 2 + 2


def test_nothing_but_our_own_lines_is_printed(make_recipe, capfd):
    run(make_recipe(writing.stage(steps=1)))
    said = capfd.readouterr()
    assert said.out == ""


def test_a_stage_changes_what_it_trains_and_nothing_else(make_recipe):
    recipe = make_recipe(*TWO)
    run(recipe)
    set_seed(recipe.seed)
    model, _ = load(recipe)
    fresh = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    align, read = (
        load_file(Path(recipe.output) / stage / TRAINED_FILE) for stage in ("1-align", "2-read")
    )
    assert align.keys() == read.keys() <= fresh.keys()
    for name, tensor in align.items():
        assert torch.equal(tensor, fresh[name]) == (part_of(name) != "adapter"), name
        assert not torch.equal(tensor, read[name]), name
    bare = E2LLM.from_pretrained(
        Path(recipe.output) / PAIR_FOLDER, dtype="float32", device="cpu"
    ).model
    assert torch.equal(
        bare.decoder.get_input_embeddings().weight,
        model.get_base_model().decoder.get_input_embeddings().weight,
    )


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(make_recipe):
    files = []
    for number, seed in enumerate((0, 0, 1)):
        torch.manual_seed(number)  # what was drawn before does not matter
        recipe = make_recipe(writing.stage(steps=2), output=f"run{number}", seed=seed)
        run(recipe)
        files.append(trained(recipe.output))
    assert files[0] == files[1] != files[2]


@pytest.mark.parametrize("task", TASKS)
def test_every_task_trains_alone(make_recipe, task):
    recipe = make_recipe(writing.stage(steps=2, tasks={task: {}}))
    run(recipe)
    assert {
        key.split("@")[0].removeprefix("eval_")
        for line in log(recipe.output)
        for key in line
        if "@" in key
    } == {task}


def test_several_batches_are_averaged_in_a_step(make_recipe, monkeypatch):
    norms = {}
    monkeypatch.setattr(StageTrainer, "get_train_dataloader", again)
    for accumulation in (1, 4):
        recipe = make_recipe(
            writing.stage(steps=4 // accumulation, accumulation=accumulation),
            output=f"run{accumulation}",
            max_grad_norm=1e9,
        )
        run(recipe)
        norms[accumulation] = log(recipe.output)[0]["grad_norm"]
    assert norms[4] == pytest.approx(norms[1], rel=1e-5)


def again(trainer):
    """Load the same batch over and over: the mean of four equal gradients is one of them."""
    batches = Subset(trainer.mixture, [0] * len(trainer.mixture))
    return trainer.accelerator.prepare(
        DataLoader(batches, batch_size=1, collate_fn=trainer.data_collator)
    )


def test_a_tracker_gets_the_loss_per_task_and_ratio(make_recipe, monkeypatch, tmp_path):
    pytest.importorskip("tensorboard")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "board"))
    run(make_recipe(writing.stage(steps=2), report_to=["tensorboard"]))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (file,) = [path for path in tmp_path.rglob("events.out.tfevents.*")]
    events = EventAccumulator(str(file))
    events.Reload()
    tags = events.Tags()["scalars"]
    assert any(tag.startswith("train/") and "@" in tag for tag in tags), tags
    assert "eval/decisive" in tags


def test_a_dataset_without_records_is_refused(make_recipe, tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    with pytest.raises(UserError, match="holds no records"):
        train(make_recipe(sources=[{"path": str(empty)}]))


def test_prompts_and_answers_that_the_decoders_window_cannot_hold_are_refused_before_anything_runs(
    make_recipe,
):
    recipe = make_recipe(
        writing.stage(max_positions=400, max_answer_tokens=112),
        writing.stage("wide", max_positions=500, max_answer_tokens=100),
    )
    with pytest.raises(
        UserError,
        match=r"`max_positions` \(=500\) and `max_answer_tokens` \(=100\) of stage 'wide' are "
        "together more than .* 512 positions",
    ):
        train(recipe)
    assert not Path(recipe.output).exists()


def test_a_decoder_in_four_bits_is_trained_by_lora_alone_and_the_pair_loads_in_any_precision(
    make_recipe,
):
    bitsandbytes = pytest.importorskip("bitsandbytes")
    stage = writing.stage(
        "read",
        steps=24,
        evaluate_every=24,
        batch_size=4,
        learning_rates={"adapter": 2e-2, "decoder": 2e-2},
    )
    recipe = make_recipe(stage, quantize="4bit")
    model, _ = load(recipe)
    base = model.get_base_model()
    layers = [
        layer for layer in base.decoder.modules() if isinstance(layer, bitsandbytes.nn.Linear4bit)
    ]
    assert layers
    assert all(
        layer.weight.dtype == torch.uint8 and layer.weight.quant_state.quant_type == "nf4"
        for layer in layers
    )
    assert not any(
        isinstance(layer, bitsandbytes.nn.Linear4bit) for layer in base.encoder.modules()
    )
    run(recipe)
    losses = [line["loss"] for line in log(recipe.output) if "loss" in line]
    assert sum(losses[-5:]) < sum(losses[:5]) - 0.2
    folder = Path(recipe.output) / PAIR_FOLDER
    assert all(
        ".adapter." in name or ".lora_" in name
        for name in load_file(folder / "lora" / "adapter_model.safetensors")
    )
    pair = E2LLM.from_pretrained(folder, dtype="float32", device="cpu")
    document = pair.compress(tiny.TEXT)
    answer = pair.ask("Who keeps the river?", document, expand=0, max_new_tokens=4)
    # Of a trained pair nothing is said but that an answer was cut.
    assert all("was cut" in notice for notice in answer.notices)
