"""A run of `e2llm fit`: begun or resumed in a folder, which ends as a method's `weights`."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedModel, set_seed

from e2llm.errors import UserError
from e2llm.methods.fitting.samples import Samples, set_aside
from e2llm.methods.fitting.settings import FitSettings
from e2llm.methods.fitting.trainable import METHOD_FILE, WEIGHTS_FILE, TrainableMethod
from e2llm.methods.fitting.trainer import FitTrainer, training_arguments
from e2llm.model.digest import digest_weights
from e2llm.model.versions import checkpoint_activations
from e2llm.training.checkpoints import last_checkpoint, writing
from e2llm.training.data.sources import Source
from e2llm.training.deal import VALIDATION_SEED
from e2llm.training.interruption import interruptible
from e2llm.training.processes import is_main_process
from e2llm.training.trainer import LastStep

RUN_FILE = "fit.json"


def fit(
    method: TrainableMethod,
    sources: Sequence[Source],
    settings: FitSettings,
    output: Path,
    resume: bool = False,
    say: Callable[[str], None] = print,
) -> Path:
    """Train a method and return the folder to give it as `weights`.

    Args:
        method: What is trained, from its own `weights` on where it has some; it stays as it is.
        sources: Question records; and text records for a method that also reads texts, which reads
            the documents of the questions without them.
        settings: How.
        output: Folder of checkpoints, log and weights.
        resume: Go on with the interrupted run in `output`.
        say: Takes one line at a time of what happens.

    Raises:
        UserError: `output` holds a run and `resume` is not set, or it is another run; no record
            fits, or none can be set aside.
        DivergedError: The loss is no longer a number; checkpoints stay.
        KeyboardInterrupt: The run was interrupted; a checkpoint has been written.
    """
    say = say if is_main_process() else lambda line: None
    run = _facts(method, sources, settings)
    _check(output, run, resume)
    # The file that is written last: the run has ended.
    if (output / METHOD_FILE).exists():
        return output
    set_seed(settings.seed)  # of the first weights
    method = replace(method)  # whose module is made anew
    n_trained = _prepare(method, settings)
    kept, aside = set_aside(sources, settings)
    args = training_arguments(method, settings, output, validates=bool(aside))
    samples = Samples(method, kept, settings, args.world_size)
    validation: list[dict[str, Any]] = []
    if aside:
        fixed = Samples(method, aside, replace(settings, seed=VALIDATION_SEED))
        validation = fixed.questions(settings.validation_samples)
    _begin(output, run)
    read = ", ".join(f"{source.name} ({len(source):,})" for source in kept)
    say(f"Fitting {n_trained:,} parameters on {read}.")
    with interruptible() as interruption:
        trainer = FitTrainer(method, args, samples, validation, say)
        trainer.add_callback(LastStep())
        trainer.add_callback(interruption)
        trainer.train(resume_from_checkpoint=last_checkpoint(output))
    if interruption.acted:
        raise KeyboardInterrupt
    if is_main_process():
        _finish(method, output, run, trainer.state.best_metric)
    trainer.accelerator.wait_for_everyone()
    return output


def _prepare(method: TrainableMethod, settings: FitSettings) -> int:
    """Make a method's module ready to be trained; return how many parameters that are."""
    trained = method.trained().values()
    # Steps are too small for half precision; reading casts what was learnt to the pair's type.
    for parameter in trained:
        parameter.data = parameter.data.float()
    modules: list[Any] = list(method.module.modules())
    for module in modules:
        if hasattr(module, "cast_input_dtype_enabled"):
            # Autocast sees to it, without a copy in float32 of every input.
            module.cast_input_dtype_enabled = False
        if settings.gradient_checkpointing and _can_recompute(module):
            checkpoint_activations(module)
    return sum(parameter.numel() for parameter in trained)


def _can_recompute(module: nn.Module) -> bool:
    return isinstance(module, PreTrainedModel) and module.supports_gradient_checkpointing


def _facts(
    method: TrainableMethod, sources: Sequence[Source], settings: FitSettings
) -> dict[str, Any]:
    """Return what makes a run this one, as JSON holds it."""
    facts = {
        "method": type(method).__name__,
        "settings": method.settings,
        "fit": dataclasses.asdict(settings),
        "model": digest_weights(method.pair.base),
        "sources": {source.name: len(source) for source in sources},
    }
    # As the file gives it back, so that a tuple is no other value than its list.
    return json.loads(json.dumps(facts))


def _check(output: Path, run: dict[str, Any], resume: bool) -> None:
    """Raise `UserError` unless the run can begin in `output`, or go on there."""
    if not (output / RUN_FILE).exists():
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise UserError(f"`output` (={output}) is not empty; name a new folder.")
        return
    if not resume:
        raise UserError(
            f"`output` (={output}) holds a run already; add --resume to go on with it, or "
            "name another folder."
        )
    try:
        old = json.loads((output / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"`output` (={output}): {RUN_FILE} is damaged ({error}); name another folder."
        ) from error
    changed = [
        f"{name}: {old.get(name)} -> {value}"
        for name, value in run.items()
        if old.get(name) != value
    ]
    if changed:
        raise UserError(
            f"`output` (={output}) holds another run ({'; '.join(changed)}); change it back, "
            "or name another folder."
        )


def _begin(output: Path, run: dict[str, Any]) -> None:
    """Write what the run is into `output`, once all that it needs has been found."""
    file = output / RUN_FILE
    if file.exists() or not is_main_process():
        return
    try:
        output.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(".tmp")
        temporary.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
        temporary.rename(file)
    except OSError as error:
        raise UserError(
            f"`output` (={output}) cannot be written ({error.strerror}); name another folder."
        ) from error


def _finish(
    method: TrainableMethod, output: Path, run: dict[str, Any], validation_loss: float | None
) -> None:
    """Write the weights, then the file that says that they are whole; remove the checkpoints."""
    temporary = output / ".weights"
    with writing(output):
        temporary.mkdir(exist_ok=True)
        facts = {
            "steps": run["fit"]["steps"],
            "seed": run["fit"]["seed"],
            "validation_loss": validation_loss,
        }
        method.save(temporary, **facts, fit=run["fit"], sources=run["sources"])
        for name in (WEIGHTS_FILE, METHOD_FILE):
            (temporary / name).rename(output / name)
        temporary.rmdir()
    for checkpoint in output.glob("checkpoint-*"):
        shutil.rmtree(checkpoint, ignore_errors=True)
