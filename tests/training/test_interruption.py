"""Runs that are interrupted: what they leave, and going on from there."""

import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

from e2llm.errors import E2LLMError
from e2llm.training.checkpoints import COMPLETE_FILE, TRAINED_FILE, last_checkpoint
from e2llm.training.interruption import interruptible
from e2llm.training.output import PAIR_FOLDER
from e2llm.training.recipe import Recipe, build
from e2llm.training.stages import train
from tests.training import writing
from tests.training.runs import TWO, log, run, trained

pytestmark = pytest.mark.usefixtures("ctrl_c", "no_curves")


@pytest.fixture(scope="module")
def uninterrupted(bases, tmp_path_factory):
    """A run of the two stages that nothing interrupted."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    recipe = build(
        Recipe,
        writing.recipe(bases, writing.write_data(folder / "data"), folder / "run", *TWO),
        "recipe",
    )
    run(recipe)
    return recipe


def only_losses(lines):
    timed = ("runtime", "per_second", "per_s", "_flos", "train_loss")
    return [
        {key: value for key, value in line.items() if not any(word in key for word in timed)}
        for line in lines
    ]


@pytest.mark.parametrize(
    "stops",
    [["read 2"], ["read 3"], ["read 5"], ["align 4"], ["align 5", "read 1"]],
    ids=lambda stops: " and ".join(stops),
)
def test_a_run_that_was_interrupted_and_resumed_equals_one_that_was_not_to_the_bit(
    uninterrupted, make_recipe, stops
):
    recipe = make_recipe(*TWO)
    for number, stop in enumerate(stops):
        run(recipe, resume=number > 0, stop_at=stop)
        assert not (Path(recipe.output) / PAIR_FOLDER).exists()
    torch.manual_seed(99)
    run(recipe, resume=True)
    for stage in ("1-align", "2-read"):
        assert trained(recipe.output, stage) == trained(uninterrupted.output, stage)
        assert [line["step"] for line in log(recipe.output, stage) if "loss" in line] == list(
            range(1, 7)
        )
        whole = [line for line in only_losses(log(uninterrupted.output, stage)) if len(line) > 3]
        assert [line for line in only_losses(log(recipe.output, stage)) if len(line) > 3] == whole


def test_an_interruption_after_the_last_step_of_a_stage_ends_the_stage_and_the_next_one_follows(
    uninterrupted, make_recipe
):
    recipe = make_recipe(*TWO)
    run(recipe, stop_at="align 6")
    assert (Path(recipe.output) / "1-align" / COMPLETE_FILE).exists()
    assert not (Path(recipe.output) / "2-read").exists()
    run(recipe, resume=True)
    assert trained(recipe.output, "2-read") == trained(uninterrupted.output, "2-read")


def test_batches_that_loader_processes_make_resume_to_the_bit_too(make_recipe):
    fields = {"trainer": {"dataloader_num_workers": 2, "dataloader_prefetch_factor": 2}}
    stage = writing.stage(batch_positions=300)
    whole, halves = (make_recipe(stage, output=name, **fields) for name in ("whole", "halves"))
    run(whole)
    run(halves, stop_at="read 4")
    run(halves, resume=True)
    assert trained(halves.output) == trained(whole.output)
    assert [line["step"] for line in log(whole.output) if "loss" in line] == list(range(1, 7))


def test_lora_with_dropout_and_batches_that_add_up_resume_to_the_bit_too(make_recipe):
    fields = {
        "decoder": {"rank": 2, "dropout": 0.3},
        "keep_embedding": 0.5,
        "gradient_checkpointing": True,
    }
    stage = writing.stage(
        accumulation=2, tasks={"distillation": {}, "continuation": {}, "expanding": {}}
    )
    whole, halves = make_recipe(stage, output="whole", **fields), make_recipe(stage, **fields)
    run(whole)
    run(halves, stop_at="read 4")
    run(halves, resume=True)
    assert trained(halves.output) == trained(whole.output)


def test_a_checkpoint_that_a_kill_left_half_written_is_passed_over_and_deleted(
    uninterrupted, make_recipe
):
    recipe = make_recipe(*TWO)
    run(recipe, stop_at="read 4")
    folder = Path(recipe.output) / "2-read"
    half = folder / "checkpoint-5"
    assert (half / COMPLETE_FILE).exists()
    (half / COMPLETE_FILE).unlink()
    (half / TRAINED_FILE).write_bytes((half / TRAINED_FILE).read_bytes()[:100])
    assert last_checkpoint(folder) == str(folder / "checkpoint-3")
    assert not half.exists()
    run(recipe, resume=True)
    assert trained(recipe.output, "2-read") == trained(uninterrupted.output, "2-read")


def test_a_damaged_checkpoint_is_named(make_recipe):
    recipe = make_recipe()
    run(recipe, stop_at="read 2")
    file = Path(recipe.output) / "1-read" / "checkpoint-3" / TRAINED_FILE
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(
        E2LLMError,
        match=r"checkpoint-3` cannot be loaded .*delete it to go on from the checkpoint before",
    ) as caught:
        train(recipe, resume=True)
    assert "\n" not in str(caught.value)


def test_a_finished_run_leaves_no_checkpoints_and_resuming_it_gives_the_pair_again(finished):
    recipe, _, folder = finished
    assert not list(Path(recipe.output).glob("*/checkpoint-*"))
    before = (folder / "lora" / "adapter_model.safetensors").read_bytes()
    shutil.rmtree(folder)
    assert len(run(recipe, resume=True)) == 1
    assert (folder / "lora" / "adapter_model.safetensors").read_bytes() == before


def test_a_run_that_torchrun_starts_again_goes_on_by_itself(
    uninterrupted, make_recipe, monkeypatch
):
    recipe = make_recipe(*TWO)
    run(recipe, stop_at="align 3")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    run(recipe)
    assert trained(recipe.output, "2-read") == trained(uninterrupted.output, "2-read")


def test_a_second_interrupt_stops_at_once_and_a_request_to_end_does_not(make_recipe):
    recipe = make_recipe(writing.stage(steps=6, evaluate_every=6))
    lines = []

    def say(line):
        lines.append(line)
        if line.startswith("read 2"):
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTERM):
                os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt):
        train(recipe, say=say)
    assert last_checkpoint(Path(recipe.output) / "1-read").endswith("checkpoint-3")

    def say_twice(line):
        if line.startswith("read 4"):
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(recipe, resume=True, say=say_twice)
    assert last_checkpoint(Path(recipe.output) / "1-read").endswith("checkpoint-3")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_that_is_ignored_stays_ignored_and_a_request_to_end_does_not():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interruptible() as interruption:
        os.kill(os.getpid(), signal.SIGINT)
        assert not interruption.wanted
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.wanted
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
