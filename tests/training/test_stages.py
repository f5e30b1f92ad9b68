"""Whole runs of tiny pairs: stages, checkpoints, interruptions, faults."""

import dataclasses
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from torch.utils.data import DataLoader, Subset

from e2llm.errors import E2LLMError, UserError
from e2llm.pair import E2LLM
from e2llm.training import stages as module
from e2llm.training.curves import read_log
from e2llm.training.data.sources import SourceSettings
from e2llm.training.recipe import PartSettings, Recipe, build
from e2llm.training.stages import PAIR_FOLDER, load, train, training_arguments
from e2llm.training.tasks import TASKS
from e2llm.training.tasks.base import Loss
from e2llm.training.trainer import (
    COMPLETE_FILE,
    REASONING,
    TRAINED_FILE,
    DivergedError,
    StageTrainer,
    last_checkpoint,
    part_of,
)
from tests import tiny
from tests.training import writing

ADAPTER_ONLY = {"learning_rates": {"adapter": 5e-3}, "tasks": {"alignment": {}}, "ratios": [1]}
TWO = (writing.stage("align", **ADAPTER_ONLY), writing.stage("read"))


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    """Curves have a test of their own; drawing them takes longer than these runs."""
    monkeypatch.setattr(module, "_plot", lambda output, say: None)


def run(recipe, resume=False, stop_at=None, times=1):
    """Train, with Ctrl-C where a line begins with `stop_at`; return what was said."""
    lines = []

    def say(line):
        lines.append(line)
        if stop_at is not None and line.startswith(stop_at) and "validation" not in line:
            os.kill(os.getpid(), signal.SIGINT)

    if stop_at is None:
        train(recipe, resume, say)
    else:
        with pytest.raises(KeyboardInterrupt):
            train(recipe, resume, say)
    return lines


def trained(output, stage="1-read"):
    return (Path(output) / stage / TRAINED_FILE).read_bytes()


def log(output, stage="1-read"):
    return read_log(Path(output) / stage / "log.jsonl")


def only_losses(lines):
    timed = ("runtime", "per_second", "per_s", "_flos", "train_loss")
    return [
        {key: value for key, value in line.items() if not any(word in key for word in timed)}
        for line in lines
    ]


# What comes out


@pytest.fixture(scope="module")
def finished(bases, tmp_path_factory):
    """A run of two stages that went well: the recipe, what was said, and the folder of the pair."""
    folder = tmp_path_factory.mktemp("finished")
    rates = {"adapter": 2e-2, "encoder": 1e-2, "decoder": 2e-2}
    long = writing.stage("read", steps=24, evaluate_every=12, batch_size=4, learning_rates=rates)
    data = writing.recipe(
        bases,
        writing.write_data(folder / "data"),
        folder / "run",
        TWO[0],
        long,
        save_dtype="bfloat16",
        keep_embedding=0.1,
    )
    recipe = build(Recipe, data, "recipe")
    lines: list[str] = []
    return recipe, lines, train(recipe, say=lines.append)


def test_the_loss_falls(finished):
    recipe, _, _ = finished
    losses = [line["loss"] for line in log(recipe.output, "2-read") if "loss" in line]
    assert len(losses) == 24
    assert sum(losses[-5:]) < sum(losses[:5]) - 0.2


def test_the_trained_pair_is_loaded_says_that_it_is_trained_and_answers(finished):
    recipe, _, folder = finished
    assert folder == Path(recipe.output) / PAIR_FOLDER
    pair = E2LLM.from_pretrained(folder, dtype="float32", device="cpu")
    assert pair.config.trained
    answer = pair.ask("Who keeps the river?", pair.compress(tiny.TEXT), expand=0, max_new_tokens=4)
    assert answer.usage.n_soft > 0
    assert answer.notices == ()


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


def test_a_finished_run_leaves_no_checkpoints_and_resuming_it_gives_the_pair_again(finished):
    recipe, _, folder = finished
    assert not list(Path(recipe.output).glob("*/checkpoint-*"))
    before = (folder / "lora" / "adapter_model.safetensors").read_bytes()
    shutil.rmtree(folder)
    assert len(run(recipe, resume=True)) == 1
    assert (folder / "lora" / "adapter_model.safetensors").read_bytes() == before


def test_a_stage_changes_what_it_trains_and_nothing_else(make_recipe):
    recipe = make_recipe(*TWO)
    run(recipe)
    module.set_seed(recipe.seed)
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


def test_a_validation_of_few_samples_has_every_task_at_every_ratio_and_no_more_samples(
    make_recipe, monkeypatch
):
    evaluate, sizes = StageTrainer.evaluate, []

    def count(trainer, *arguments, **options):
        sizes.extend(
            len(trainer.validation[index].samples) for index in range(len(trainer.validation))
        )
        return evaluate(trainer, *arguments, **options)

    monkeypatch.setattr(StageTrainer, "evaluate", count)
    recipe = make_recipe(writing.stage(steps=1, batch_size=8), validation_samples=1)
    run(recipe)
    assert sizes == [1] * 4
    seen = {
        key for line in log(recipe.output) for key in line if key.startswith("eval_") and "@" in key
    }
    assert seen == {
        f"eval_{task}@{ratio}" for task in ("understanding", "reasoning") for ratio in (2, 4)
    }


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


# The best checkpoint, and stopping early


class Decreed:
    """Validation losses that a test decrees; training goes on as it does."""

    def __init__(self, monkeypatch, losses):
        self.losses = {name: iter(own) for name, own in losses.items()}
        monkeypatch.setattr(
            StageTrainer,
            "_means",
            lambda trainer, sums, own=StageTrainer._means: self.means(own(trainer, sums), trainer),
        )

    def means(self, means, trainer):
        if (
            trainer.model.training
            and trainer.control.should_evaluate
            and trainer._n_positions == 0
            and trainer._sums == {}
        ):
            return {name: next(own) for name, own in self.losses.items()}
        return means


def test_the_best_checkpoint_is_the_one_with_the_least_loss_in_reasoning_alone(
    make_recipe, monkeypatch
):
    recipe = make_recipe(
        writing.stage(steps=8, evaluate_every=2, tasks={"understanding": {}, "reasoning": {}})
    )
    losses = {"understanding": [4.0, 3.0, 2.0, 1.0], "reasoning": [2.0, 1.0, 1.5, 3.0]}
    Decreed(monkeypatch, losses)
    states = {}
    keep = module.StageTrainer._save

    def save(trainer, output_dir=None, state_dict=None):
        keep(trainer, output_dir, state_dict)
        states[trainer.state.global_step] = (
            states.get(trainer.state.global_step) or (Path(output_dir) / TRAINED_FILE).read_bytes()
        )

    monkeypatch.setattr(module.StageTrainer, "_save", save)
    run(recipe)
    assert [
        line["eval_decisive"] for line in log(recipe.output) if "eval_decisive" in line
    ] == losses["reasoning"]
    assert trained(recipe.output) == states[4]
    assert len(set(states.values())) == 4


def test_a_validation_has_every_task_at_every_ratio_and_the_decisive_loss_is_that_of_reasoning(
    make_recipe,
):
    recipe = make_recipe(
        writing.stage(
            steps=1,
            ratios=[1, 2, 4, 4],
            tasks={"understanding": {}, "reasoning": {}, "expanding": {"share": 0.1}},
        )
    )
    run(recipe)
    (line,) = [line for line in log(recipe.output) if "eval_decisive" in line]
    assert all(
        f"eval_{task}@{ratio}" in line
        for task in ("understanding", "reasoning", "expanding")
        for ratio in (1, 2, 4)
    )
    assert line["eval_decisive"] == pytest.approx(
        (line["eval_reasoning"] + line["eval_expanding"]) / 2
    )
    assert "understanding" not in REASONING


def test_a_stage_whose_length_is_no_multiple_is_validated_at_its_end_too(make_recipe):
    recipe = make_recipe(writing.stage(steps=5, evaluate_every=3))
    run(recipe)
    assert [line["step"] for line in log(recipe.output) if "eval_decisive" in line] == [3, 5]


def test_a_stage_ends_early_when_validation_has_not_got_better_for_a_while(
    make_recipe, monkeypatch
):
    recipe = make_recipe(
        writing.stage(steps=20, evaluate_every=2, patience=2), writing.stage("more", steps=1)
    )
    Decreed(monkeypatch, {"reasoning": [2.0, 1.0, 1.1, 1.2, *[0.1] * 9]})
    run(recipe)
    assert log(recipe.output)[-1]["step"] == 8
    assert (Path(recipe.output) / "1-read" / COMPLETE_FILE).exists()
    assert (Path(recipe.output) / PAIR_FOLDER / "config.json").exists()


# Going on


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


def test_a_run_that_torchrun_starts_again_goes_on_by_itself(
    uninterrupted, make_recipe, monkeypatch
):
    recipe = make_recipe(*TWO)
    run(recipe, stop_at="align 3")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    run(recipe)
    assert trained(recipe.output, "2-read") == trained(uninterrupted.output, "2-read")


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


# Bad input and faults


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_loss_or_gradient_that_is_no_number_stops_the_run_names_the_samples_and_keeps_the_checkpoint(
    make_recipe, monkeypatch, where
):
    recipe = make_recipe(writing.stage(tasks={"understanding": {}}))
    calls = [0]
    own = type(TASKS["understanding"]).loss

    def loss(task, model, inputs):
        result = own(task, model, inputs)
        calls[0] += torch.is_grad_enabled()
        if calls[0] < 5 or not torch.is_grad_enabled():
            return result
        bad = (
            result.total * float("nan")
            if where == "loss"
            else result.total + Infinite.apply(result.total)
        )
        return Loss(bad, result.n_items)

    monkeypatch.setattr(type(TASKS["understanding"]), "loss", loss)
    with pytest.raises(DivergedError) as caught:
        run(recipe)
    message = str(caught.value)
    assert message.startswith(
        {
            "loss": "the loss is nan at step 5 (",
            "gradient": "the gradient's norm is nan at step 5 (",
        }[where]
    )
    assert "task understanding, ratio" in message
    assert "samples town/t" in message
    assert "checkpoint-3: " in message
    state = load_file(Path(last_checkpoint(Path(recipe.output) / "1-read")) / TRAINED_FILE)
    assert all(tensor.isfinite().all() for tensor in state.values())
    monkeypatch.undo()
    monkeypatch.setattr(module, "_plot", lambda output, say: None)
    run(recipe, resume=True)


class Infinite(torch.autograd.Function):
    """Zero, whose gradient is not a number."""

    @staticmethod
    def forward(ctx, value):
        return torch.zeros_like(value)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * float("nan")


def test_a_dataset_without_records_is_refused(make_recipe, tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    with pytest.raises(UserError, match="holds no records"):
        train(make_recipe(sources=[{"path": str(empty)}]))


def test_prompts_and_answers_that_the_decoders_window_cannot_hold_are_refused_before_anything_runs(
    make_recipe,
):
    recipe = make_recipe(
        writing.stage(**TWO_FITS), writing.stage("wide", max_positions=500, max_answer_tokens=100)
    )
    with pytest.raises(
        UserError,
        match=r"`max_positions` \(=500\) and `max_answer_tokens` \(=100\) of stage 'wide' are together more than .* 512 positions",
    ):
        train(recipe)
    assert not Path(recipe.output).exists()


TWO_FITS = {"max_positions": 400, "max_answer_tokens": 112}


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


def test_a_part_in_which_there_is_nothing_to_train_is_refused(make_recipe):
    adapter_alone = make_recipe(writing.stage("align", **ADAPTER_ONLY))
    model, _ = load(adapter_alone)
    with pytest.raises(
        UserError, match=r"`learning_rates.decoder` of stage 'read' trains nothing of this pair"
    ):
        module.choose_trained(model, adapter_alone, make_recipe(writing.stage()).stages[0])


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


# QLoRA


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
    assert (
        pair.ask(
            "Who keeps the river?", pair.compress(tiny.TEXT), expand=0, max_new_tokens=4
        ).notices
        == ()
    )
