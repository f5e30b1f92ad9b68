"""The trainer of a stage: what it validates on, which checkpoint is best, when it stops."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from e2llm.training import stages
from e2llm.training.checkpoints import COMPLETE_FILE, TRAINED_FILE, last_checkpoint
from e2llm.training.output import PAIR_FOLDER
from e2llm.training.tasks import TASKS, Loss
from e2llm.training.trainer import REASONING, DivergedError, StageTrainer
from tests.training import writing
from tests.training.runs import log, run, trained

pytestmark = pytest.mark.usefixtures("no_curves")


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


def test_the_best_checkpoint_is_the_one_with_the_least_loss_in_reasoning_alone(
    make_recipe, monkeypatch
):
    recipe = make_recipe(
        writing.stage(steps=8, evaluate_every=2, tasks={"understanding": {}, "reasoning": {}})
    )
    losses = {"understanding": [4.0, 3.0, 2.0, 1.0], "reasoning": [2.0, 1.0, 1.5, 3.0]}
    Decreed(monkeypatch, losses)
    states = {}
    keep = StageTrainer._save

    def save(trainer, output_dir=None, state_dict=None):
        keep(trainer, output_dir, state_dict)
        states[trainer.state.global_step] = (
            states.get(trainer.state.global_step) or (Path(output_dir) / TRAINED_FILE).read_bytes()
        )

    monkeypatch.setattr(StageTrainer, "_save", save)
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


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_loss_or_gradient_that_is_no_number_stops_the_run_names_the_samples_and_keeps_the_checkpoint(  # noqa: E501
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
    monkeypatch.setattr(stages, "_plot", lambda output, say: None)
    run(recipe, resume=True)


class Infinite(torch.autograd.Function):
    """Zero, whose gradient is not a number."""

    @staticmethod
    def forward(ctx, value):
        return torch.zeros_like(value)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * float("nan")
