"""A recipe run stage after stage, up to the trained pair (paper section 3.2).

Each stage begins with the best checkpoint of the one before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from transformers import EarlyStoppingCallback, TrainerCallback, set_seed

from e2llm.errors import E2LLMError, MissingPackageError, UserError
from e2llm.model import E2LLMProcessor
from e2llm.training.arguments import training_arguments
from e2llm.training.attention import reads_packed
from e2llm.training.checkpoints import (
    COMPLETE_FILE,
    last_checkpoint,
    load_trained,
    mark_complete_stage,
    writing,
)
from e2llm.training.collator import Collator
from e2llm.training.curves import plot
from e2llm.training.data.sources import Source, open_source
from e2llm.training.deal import VALIDATION_SEED, stage_seed
from e2llm.training.interruption import Interruption, interruptible
from e2llm.training.log import Log
from e2llm.training.mixture import Mixture
from e2llm.training.objective import Objective
from e2llm.training.output import PAIR_FOLDER, begin_output, check_output, stage_folder
from e2llm.training.pair_to_train import load
from e2llm.training.parameters import choose_trained
from e2llm.training.processes import is_main_process, meet_again, started_again
from e2llm.training.recipe import Recipe, Stage
from e2llm.training.remembered_states import RememberedStates
from e2llm.training.resources import checkpoint_gradients, compile_layers
from e2llm.training.trained_pair import save, unshard
from e2llm.training.trainer import LastStep, StageTrainer


@dataclass(frozen=True)
class Run:
    """What all stages of a run share.

    Attributes:
        recipe: What is trained.
        objective: The pair with its losses.
        processor: The pair's.
        sources, validation: Records to train on, and to validate on.
        trained: Names of all the parameters that any stage trains.
    """

    recipe: Recipe
    objective: Objective
    processor: E2LLMProcessor
    sources: Sequence[Source]
    validation: Sequence[Source]
    trained: list[str]


def train(recipe: Recipe, resume: bool = False, say: Callable[[str], None] = print) -> Path:
    """Train a pair as a recipe says; return the folder of the trained pair.

    Args:
        recipe: What to train.
        resume: Go on with an interrupted run in `recipe.output`; so does a process that torchrun
            starts again after a failure.
        say: Takes one line at a time of what happens.

    Raises:
        UserError: The output folder holds a run and `resume` is not set, or the recipe is not the
            one that the run began with.
        DivergedError: The loss is no longer a number; checkpoints stay.
        KeyboardInterrupt: The run was interrupted; a checkpoint has been written.
    """
    output, main = Path(recipe.output), is_main_process()
    say = say if main else lambda line: None
    if main:  # alone: the others may come when it has begun already
        check_output(output, recipe, resume or started_again())
    if started_again():
        meet_again()
    # Before anything is written: a recipe that names what is not there leaves no folder.
    run = load_run(recipe)
    if main:
        begin_output(output, recipe)
    if recipe.gradient_checkpointing:
        checkpoint_gradients(run.objective)
    if recipe.compile:
        compile_layers(run.objective)
    say(_first_line(run))
    with interruptible() as interruption:
        for number, stage in enumerate(recipe.stages, 1):
            folder = stage_folder(output, number, stage)
            # What a stage that ended before the interruption has trained is only loaded.
            if (folder / COMPLETE_FILE).exists():
                load_trained(run.objective, folder)
                continue
            folder.mkdir(parents=True, exist_ok=True)
            run_stage(run, stage, folder, interruption, say)
            if interruption.wanted:
                raise KeyboardInterrupt
    pair = output / PAIR_FOLDER
    # In all processes, for each holds shards; only then does the first one save alone.
    unshard(run.objective, main)
    if main:
        save(run.objective, run.processor, recipe, pair)
        _plot(output, say)
    return pair


def load_run(recipe: Recipe) -> Run:
    """Open the sources of a recipe, and load its pair.

    Raises:
        UserError: A source or a part of the pair is not there, or the decoder's window is too
            narrow for a stage.
    """
    sources, validation = open_sources(recipe)
    set_seed(recipe.seed)  # of LoRA's first weights
    model, processor = load(recipe)
    objective = Objective(model, recipe)
    trained = [name for stage in recipe.stages for name in choose_trained(objective, recipe, stage)]
    _check_window(objective.base.config.decoder_window, recipe)
    return Run(recipe, objective, processor, sources, validation, trained)


def open_sources(recipe: Recipe) -> tuple[list[Source], list[Source]]:
    """Open what a recipe trains on and what it validates on, by default a part of the former."""
    opened = [open_source(settings) for settings in recipe.sources]
    if recipe.validation:
        return opened, [open_source(settings) for settings in recipe.validation]
    halves = [source.split(recipe.validation_fraction, recipe.seed) for source in opened]
    return [first for first, _ in halves], [second for _, second in halves]


def run_stage(
    run: Run,
    stage: Stage,
    folder: Path,
    interruption: Interruption,
    say: Callable[[str], None],
) -> None:
    """Train one stage, and leave the best of it in the model and in `folder`.

    An interrupted stage leaves a checkpoint in `folder`.
    """
    recipe, base = run.recipe, run.objective.base
    run.objective.stage = stage
    choose_trained(run.objective, recipe, stage)
    frozen = "encoder" not in stage.learning_rates
    remembers = recipe.remember_states and frozen
    base.remembered_states = RememberedStates() if remembers else None
    seed = stage_seed(str(recipe.seed), stage.name)
    set_seed(seed)  # so that a stage does not depend on the ones before
    args = training_arguments(recipe, stage, folder)
    n_batches = stage.steps * stage.accumulation * args.world_size
    n_readers = max(1, args.dataloader_num_workers * args.world_size)
    # As many batches as all processes read; a loader process of each has pools of its own.
    mixture = Mixture(stage, run.sources, run.processor, n_batches, seed, n_readers=n_readers)
    callbacks: list[TrainerCallback] = [interruption, LastStep(), Log(folder, stage, say)]
    if stage.patience is not None:
        callbacks.append(EarlyStoppingCallback(stage.patience))
    trainer = StageTrainer(
        run.objective,
        stage,
        args,
        mixture,
        _held_out(run, stage, mixture.tasks),
        Collator(run.processor, reads_packed(base.decoder)),
        run.trained,
        callbacks,
    )
    trainer.train(resume_from_checkpoint=last_checkpoint(folder))
    # It ended early, though neither an interruption nor early stopping asked for it.
    if trainer.state.global_step < stage.steps and not trainer.control.should_training_stop:
        raise E2LLMError(
            f"stage {stage.name!r} ended at step {trainer.state.global_step} of "
            f"{stage.steps}; go on with --resume."
        )
    if interruption.acted:  # the checkpoint that it made is what the stage goes on from
        return
    with writing(folder):
        trainer.save_model(str(folder))
        trainer.accelerator.wait_for_everyone()
        if args.should_save:
            mark_complete_stage(folder)
    trainer.accelerator.wait_for_everyone()


def _held_out(run: Run, stage: Stage, names: Sequence[str]) -> Mixture:
    """Return the batches that a stage is validated on: every task at every ratio, equally often."""
    n_samples, ratios = run.recipe.validation_samples, tuple(dict.fromkeys(stage.ratios))
    size = min(stage.batch_size, n_samples)
    # Rounded up: the batches hold at least as many samples as the recipe asks for.
    n_batches = -(-n_samples * len(names) * len(ratios) // size)
    tasks = {
        name: replace(own, share=float(own.share > 0), batch_size=None)
        for name, own in stage.tasks.items()
    }
    # Every task at every ratio has as many samples as any other.
    alike = replace(stage, tasks=tasks, ratios=ratios, batch_size=size, batch_positions=None)
    return Mixture(
        alike, run.validation, run.processor, n_batches, VALIDATION_SEED, curriculum=False
    )


def _check_window(window: int | None, recipe: Recipe) -> None:
    """Raise `UserError` where a stage's prompts and answers may not fit the decoder's window."""
    for stage in recipe.stages:
        if (
            window is not None
            and stage.max_positions + stage.max_answer_tokens > window
            and set(stage.tasks) != {"alignment"}
        ):
            raise UserError(
                f"`max_positions` (={stage.max_positions}) and `max_answer_tokens` "
                f"(={stage.max_answer_tokens}) of stage {stage.name!r} are together more than "
                f"the decoder's window of {window} positions; lower one of them."
            )


def _first_line(run: Run) -> str:
    """Say how many parameters are trained, on which sources."""
    trained = set(run.trained)
    n = sum(p.numel() for name, p in run.objective.named_parameters() if name in trained)
    sources = ", ".join(f"{source.name} ({len(source):,})" for source in run.sources)
    return f"Training {n:,} parameters on {sources}."


def _plot(output: Path, say: Callable[[str], None]) -> None:
    """Draw the curves where matplotlib is installed."""
    try:
        say(f"Curves: {plot(output)}")
    except MissingPackageError as error:
        say(f"No curves: {error}")
