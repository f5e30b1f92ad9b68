"""Run a recipe: stage after stage, each from the best checkpoint of the one before, and the trained
pair at the end (paper section 3.2).
"""

import ctypes
import importlib
import json
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import EarlyStoppingCallback, TrainerCallback, TrainingArguments, set_seed
from transformers.modeling_layers import GradientCheckpointingLayer

from e2llm.checks import check_choice
from e2llm.errors import E2LLMError, UserError
from e2llm.model import E2LLMConfig, E2LLMForCausalLM, E2LLMProcessor, devices
from e2llm.model.assembling import assemble, set_defaults
from e2llm.model.checkpoint import load_processor, load_trainable, save_pair
from e2llm.model.lora import LORA_TARGETS, attach_lora, extend_lora, lora_layers, widen_lora
from e2llm.model.versions import checkpoint_activations
from e2llm.pairs import find_pair
from e2llm.training.attention import attend_in_float32, attend_packed, reads_packed
from e2llm.training.collator import Collator
from e2llm.training.data.sources import Source, open_source
from e2llm.training.mixture import Mixture, stage_seed
from e2llm.training.objective import Objective
from e2llm.training.recipe import RANK, Recipe, Stage
from e2llm.training.remembering import RememberedStates
from e2llm.training.trainer import (
    COMPLETE_FILE,
    LastStep,
    Lines,
    StageTrainer,
    is_main_process,
    last_checkpoint,
    load_trained,
    mark_complete,
    part_of,
    writing,
)

RECIPE_FILE = "recipe.json"
PAIR_FOLDER = "pair"
VALIDATION_SEED = 10_007
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


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
    output = Path(recipe.output)
    main = is_main_process()
    say = say if main else lambda line: None
    restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    if main:  # alone: the others may come when it has begun already
        _check(output, recipe, resume or restarted)
    if restarted:
        _meet_again()
    sources, validation = open_sources(recipe)
    set_seed(recipe.seed)  # of LoRA's first weights
    model, processor = load(recipe)
    objective = Objective(model, recipe)
    trained = [name for stage in recipe.stages for name in choose_trained(objective, recipe, stage)]
    _check_window(objective.base.config.decoder_window, recipe)
    if main:
        _begin(output, recipe)
    if recipe.gradient_checkpointing:
        checkpoint_gradients(objective)
    if recipe.compile:
        compile_layers(objective)
    say(
        "Training "
        f"{sum(p.numel() for n, p in objective.named_parameters() if n in set(trained)):,} "
        f"parameters on {_count(sources)}."
    )
    with interruptible() as interruption:
        for number, stage in enumerate(recipe.stages, 1):
            folder = stage_folder(output, number, stage)
            if (folder / COMPLETE_FILE).exists():
                load_trained(objective, folder)
                continue
            folder.mkdir(parents=True, exist_ok=True)
            run_stage(
                objective,
                processor,
                recipe,
                stage,
                folder,
                sources,
                validation,
                trained,
                [interruption, LastStep(), Lines(folder, stage, say)],
            )
            if interruption.wanted:
                raise KeyboardInterrupt
    pair = output / PAIR_FOLDER
    unshard(objective, main)
    if main:
        save(objective, processor, recipe, pair)
        _plot(output, say)
    return pair


def stage_folder(output: Path, number: int, stage: Stage) -> Path:
    """Return where the stage with this number, counted from 1, keeps its files."""
    return output / f"{number}-{stage.name.replace(' ', '-')}"


def run_stage(
    objective: Objective,
    processor: E2LLMProcessor,
    recipe: Recipe,
    stage: Stage,
    folder: Path,
    sources: Sequence[Source],
    validation: Sequence[Source],
    trained: list[str],
    callbacks: list[TrainerCallback],
) -> None:
    """Train one stage, and leave the best of it in the model and in `folder`."""
    objective.stage = stage
    choose_trained(objective, recipe, stage)
    frozen = "encoder" not in stage.learning_rates
    objective.base.remembered_states = (
        RememberedStates() if recipe.remember_states and frozen else None
    )
    seed = stage_seed(str(recipe.seed), stage.name)
    set_seed(seed)
    args = training_arguments(recipe, stage, folder)
    n_batches = stage.steps * stage.accumulation * args.world_size
    n_readers = max(1, args.dataloader_num_workers * args.world_size)
    mixture = Mixture(stage, sources, processor, n_batches, seed, n_readers=n_readers)
    ratios = tuple(dict.fromkeys(stage.ratios))
    n_cells = len(mixture.tasks) * len(ratios)
    size = min(stage.batch_size, recipe.validation_samples)
    n_validation = -(-recipe.validation_samples * n_cells // size)
    equal = {
        name: replace(own, share=float(own.share > 0), batch_size=None)
        for name, own in stage.tasks.items()
    }
    alike = replace(stage, tasks=equal, ratios=ratios, batch_size=size, batch_positions=None)
    held_out = Mixture(
        alike, validation, processor, n_validation, VALIDATION_SEED, curriculum=False
    )
    if stage.patience is not None:
        callbacks = [*callbacks, EarlyStoppingCallback(stage.patience)]
    collator = Collator(processor, reads_packed(objective.base.decoder))
    trainer = StageTrainer(objective, stage, args, mixture, held_out, collator, trained, callbacks)
    checkpoint = last_checkpoint(folder)
    trainer.train(resume_from_checkpoint=checkpoint)
    if trainer.state.global_step < stage.steps and not trainer.control.should_training_stop:
        raise E2LLMError(
            f"stage {stage.name!r} ended at step {trainer.state.global_step} of "
            f"{stage.steps}; go on with --resume."
        )
    interrupted = any(
        isinstance(callback, Interruption) and callback.acted for callback in callbacks
    )
    if not interrupted:
        with writing(folder):
            trainer.save_model(str(folder))
            trainer.accelerator.wait_for_everyone()
            if args.should_save:
                mark_complete_stage(folder)
        trainer.accelerator.wait_for_everyone()


def checkpoint_gradients(objective: Objective) -> None:
    """Let both pretrained parts compute their layers again in the backward pass, in place of
    keeping what they put out.
    """
    for part in (objective.base.encoder, objective.base.decoder):
        checkpoint_activations(part)
        part.enable_input_require_grads()


def compile_layers(objective: Objective, **options: Any) -> None:
    """Compile the decoder's layers, which are alike, so that one is compiled for all; shapes stay
    free, `options` go to `torch.compile`.

    The encoder's are left alone: where hidden states of several layers are wanted, they are
    gathered in the middle of a layer.
    """
    for module in objective.base.decoder.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.compile(dynamic=True, **options)


def mark_complete_stage(folder: Path) -> None:
    """Say that a stage is whole, and let go of its checkpoints, whose best the folder itself holds."""
    checkpoints = list(folder.glob("checkpoint-*"))
    for path in checkpoints:
        shutil.rmtree(path, ignore_errors=True)
    mark_complete(folder)


def keep_memory() -> None:
    """Let glibc keep freed memory for the next batch: given back and fetched anew, its pages cost a
    third of the time on a CPU.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another system, another allocator
        return
    for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
        mallopt(option, 2**31 - 1)


def load(recipe: Recipe) -> tuple[E2LLMForCausalLM | PeftModel, E2LLMProcessor]:
    """Load the pair that a recipe names, with LoRA where it is to be trained."""
    device = devices.default_device()
    dtype = getattr(torch, recipe.dtype) if recipe.dtype else devices.default_dtype(device)
    options: dict[str, Any] = {"dtype": dtype}
    if recipe.quantize:
        options["quantization_config"] = _quantization(dtype)
    fields = dict(recipe.pair)
    name = fields.pop("model", None)
    if name is not None:
        path = find_pair(str(name))
        config = E2LLMConfig.from_pretrained(path)
        model: E2LLMForCausalLM | PeftModel = load_trainable(path, config, **options)
        processor = load_processor(path, config)
    else:
        model, processor = assemble(
            fields.pop("encoder"), fields.pop("decoder"), **fields, **options
        )
    modes = {"encoder": recipe.encoder, "decoder": recipe.decoder}
    trains = {part for stage in recipe.stages for part in stage.learning_rates}
    lora = [part for part in modes if part in trains and modes[part].mode == "lora"]
    ranks = {part: modes[part].rank or RANK for part in lora}
    alphas = {part: modes[part].alpha or 2 * ranks[part] for part in lora}
    if lora and not isinstance(model, PeftModel):
        targets = "|".join(_targets(model, part, modes[part].targets) for part in lora)
        model = attach_lora(
            model,
            rank=ranks[lora[-1]],
            alpha=int(alphas[lora[-1]]),
            dropout=modes[lora[-1]].dropout,
            target_modules=targets,
            rank_pattern={rf"{part}\..*": rank for part, rank in ranks.items()},
            alpha_pattern={rf"{part}\..*": alpha for part, alpha in alphas.items()},
        )
    elif isinstance(model, PeftModel):
        for part in lora:
            settings = modes[part]
            if not lora_layers(model, part):
                targets = _targets(model.get_base_model(), part, settings.targets)
                extend_lora(model, part, targets, ranks[part], alphas[part])
                continue
            if named := settings.targets:
                raise UserError(
                    f"`{part}.targets` (={[*named]}): the LoRA of the pair to go on from has "
                    "places of its own; leave it out."
                )
            if settings.rank:
                widen_lora(model, part, settings.rank)
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    if name is not None:
        set_defaults(base.config, processor, fields)
    base.adapter.float()
    if device == "cpu" and dtype == torch.bfloat16:
        attend_in_float32(base.encoder)
    if (
        device == "cpu" and not recipe.compile
    ):  # elsewhere a launch for every row costs more than the padding
        attend_packed(base.decoder)
    for part in trains & modes.keys():
        if modes[part].mode == "full":
            getattr(base, part).float()
    for module in model.modules():
        if hasattr(module, "cast_input_dtype_enabled"):
            module.cast_input_dtype_enabled = (
                False  # autocast sees to it, without a copy in float32 of every input
            )
    return model, processor


def _targets(model: E2LLMForCausalLM, part: str, names: tuple[str, ...] | None) -> str:
    """Return the pattern of the linear layers of a part that LoRA reaches."""
    if names is None:
        return LORA_TARGETS.replace("(encoder|decoder)", part)
    linear = {
        name.rpartition(".")[2]
        for name, module in model.get_submodule(part).named_modules()
        if re.fullmatch(LORA_TARGETS, f"{part}.{name}")
    }
    for name in names:
        check_choice(f"{part}.targets", name, sorted(linear))
    return rf"{part}\..*\.({'|'.join(names)})"


def unshard(objective: Objective, keeps: bool) -> None:
    """Put whole parameters, in main memory, where FSDP2 or DeepSpeed's ZeRO-3 left shards, so that
    they can be saved.

    All processes meet here; those that do not keep the weights drop them again at once.
    """
    for module in objective.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if isinstance(parameter, DTensor):
                whole: Tensor = parameter.full_tensor()
            elif hasattr(parameter, "ds_id"):
                with importlib.import_module("deepspeed").zero.GatheredParameters([parameter]):
                    whole = parameter.detach().clone()
            else:
                continue
            if keeps:
                setattr(module, name, nn.Parameter(whole.detach().cpu(), parameter.requires_grad))


def save(objective: Objective, processor: E2LLMProcessor, recipe: Recipe, folder: Path) -> None:
    """Write the trained pair: adapter and LoRA beside the names of the bases, or every weight where
    a base was trained in full.
    """
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    objective.base.config.trained = True
    dtype = getattr(torch, recipe.save_dtype)
    for parameter in objective.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
    model: Any = objective.model
    if isinstance(model, PeftModel) and not objective.base.holds_bases(lora=False):
        model = model.merge_and_unload()
    with writing(folder):
        save_pair(model, processor, temporary)
        for weights in temporary.rglob(
            "*.safetensors"
        ):  # which safetensors makes for its owner alone
            shutil.copymode(temporary / "config.json", weights)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)


def training_arguments(recipe: Recipe, stage: Stage, folder: Path) -> TrainingArguments:
    """Turn a recipe and a stage into transformers' arguments; `recipe.trainer` has the last word."""
    on_cpu = devices.default_device() == "cpu"
    dtype = (
        getattr(torch, recipe.dtype)
        if recipe.dtype
        else devices.default_dtype(devices.default_device())
    )
    schedule = {"constant": "constant_with_warmup"}.get(stage.schedule, stage.schedule)
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": stage.steps,
        "per_device_train_batch_size": 1,  # a batch is one item of the mixture
        "gradient_accumulation_steps": stage.accumulation,
        "lr_scheduler_type": schedule,
        "warmup_steps": round(stage.warmup * stage.steps),
        "max_grad_norm": recipe.max_grad_norm,
        "weight_decay": 0.0,
        "bf16": dtype == torch.bfloat16,
        "fp16": dtype == torch.float16,
        "use_cpu": on_cpu,
        "seed": recipe.seed,
        "logging_steps": recipe.log_every,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "eval_strategy": "steps",
        "eval_steps": stage.evaluate_every,
        "save_strategy": "steps",
        "save_steps": stage.evaluate_every,
        "save_total_limit": 2,
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_decisive",
        "greater_is_better": False,
        "restore_callback_states_from_checkpoint": True,
        "remove_unused_columns": False,
        "label_names": ["labels"],
        "report_to": list(recipe.report_to) or "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": not on_cpu,
        "ddp_find_unused_parameters": True,
    }
    try:
        return TrainingArguments(**{**settings, **recipe.trainer})
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise UserError(
            f"`trainer`: {reason}; name fields of transformers' TrainingArguments and values "
            "that they take."
        ) from error


class Interruption(TrainerCallback):
    """Once wanted, save a checkpoint at the end of the step and stop.

    Attributes:
        wanted: Whether this process was asked to stop.
        acted: Whether it did, in the middle of a stage.
    """

    def __init__(self) -> None:
        self.wanted = self.acted = False

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop after a checkpoint; several processes stop at the same step, whichever of them was
        asked first.
        """
        wanted = self.wanted
        if args.world_size > 1:
            flag = torch.tensor(float(wanted), device=args.device)
            torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
            wanted = bool(flag)
        self.wanted |= wanted
        if wanted and state.global_step < state.max_steps:
            self.acted = True
            control.should_save = control.should_training_stop = True


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Turn the first Ctrl-C, or a request to end, into a checkpoint and a stop; a Ctrl-C after it
    stops at once.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return

    def want(number: int, frame: Any) -> None:
        # torchrun passes a Ctrl-C on as a request to end, which may come after the Ctrl-C itself.
        if interruption.wanted and number == signal.SIGINT:
            raise KeyboardInterrupt
        interruption.wanted = True

    before = {number: signal.signal(number, want) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _meet_again() -> None:
    """Join the process group of processes that torchrun has started again.

    torch would do so by itself, but torchrun's store still holds the addresses of the processes
    before, at which nobody answers any more.
    """
    if (
        torch.distributed.is_initialized()
        or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    ):
        return
    n_processes = int(os.environ["WORLD_SIZE"])
    store = torch.distributed.TCPStore(
        os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), n_processes, is_master=False
    )
    own = torch.distributed.PrefixStore(f"start {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
    backend = "cuda:nccl,cpu:gloo" if devices.default_device() == "cuda" else "gloo"
    torch.distributed.init_process_group(
        backend, store=own, rank=int(os.environ["RANK"]), world_size=n_processes
    )


def _check(output: Path, recipe: Recipe, resume: bool) -> None:
    """Raise `UserError` unless the run can begin in `output`, or go on there."""
    file = output / RECIPE_FILE
    if not file.exists():
        return
    if not resume:
        raise UserError(
            f"`output` (={output}) holds a run already; add --resume to go on with it, or "
            "name another folder."
        )
    try:
        old = json.loads(file.read_text(encoding="utf-8"))
        changed = recipe.difference(old)
    except (OSError, ValueError) as error:
        raise UserError(
            f"`output` (={output}): {RECIPE_FILE} is damaged ({error}); name another folder."
        ) from error
    if changed:
        raise UserError(
            f"`output` (={output}) holds a run of another recipe ({'; '.join(changed[:5])}); "
            "change it back, or name another folder."
        )


def _check_window(window: int | None, recipe: Recipe) -> None:
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


def _begin(output: Path, recipe: Recipe) -> None:
    """Write the recipe into `output`, once all that it names has been found."""
    file = output / RECIPE_FILE
    if file.exists():
        return
    try:
        output.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(".tmp")
        temporary.write_text(json.dumps(recipe.as_dict(), indent=1) + "\n", encoding="utf-8")
        temporary.rename(file)
    except OSError as error:
        raise UserError(
            f"`output` (={output}) cannot be written ({error.strerror}); name another folder."
        ) from error


def open_sources(recipe: Recipe) -> tuple[list[Source], list[Source]]:
    opened = [open_source(settings) for settings in recipe.sources]
    if recipe.validation:
        return opened, [open_source(settings) for settings in recipe.validation]
    halves = [source.split(recipe.validation_fraction, recipe.seed) for source in opened]
    return [first for first, _ in halves], [second for _, second in halves]


def choose_trained(objective: nn.Module, recipe: Recipe, stage: Stage) -> list[str]:
    """Let gradients reach what the stage trains, and nothing else; return the names of those
    parameters.
    """
    full = {
        part
        for part, settings in (("encoder", recipe.encoder), ("decoder", recipe.decoder))
        if settings.mode == "full"
    }
    chosen = []
    for name, parameter in objective.named_parameters():
        part = part_of(name)
        wanted = (
            part in stage.learning_rates
            and ".original_module." not in name
            and (part == "adapter" or part in full or "lora_" in name)
        )
        parameter.requires_grad_(wanted and parameter.is_floating_point())
        if wanted:
            chosen.append(name)
    if nothing := set(stage.learning_rates) - {part_of(name) for name in chosen}:
        raise UserError(
            f"`learning_rates.{min(nothing)}` of stage {stage.name!r} trains nothing of this "
            "pair: it has no LoRA there."
        )
    return chosen


def _count(sources: Sequence[Source]) -> str:
    return ", ".join(f"{source.name} ({len(source):,})" for source in sources)


def _quantization(dtype: torch.dtype) -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def _plot(output: Path, say: Callable[[str], None]) -> None:
    from e2llm.errors import MissingPackageError
    from e2llm.training.curves import plot

    try:
        say(f"Curves: {plot(output)}")
    except MissingPackageError as error:
        say(f"No curves: {error}")
