"""What transformers' Trainer is told of a stage."""

from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from e2llm.errors import UserError
from e2llm.model import devices
from e2llm.training.pair_to_train import precision
from e2llm.training.recipe import Recipe, Stage


def training_arguments(recipe: Recipe, stage: Stage, folder: Path) -> TrainingArguments:
    """Turn a recipe and a stage into arguments, over which `recipe.trainer` has the last word.

    Raises:
        UserError: `recipe.trainer` names a field that is not there, or a value that it cannot have.
    """
    on_cpu = devices.default_device() == "cpu"
    dtype = precision(recipe)
    # The library's "constant" has no warm-up.
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
        "logging_nan_inf_filter": False,  # `StageTrainer` stops at what is no number
        "eval_strategy": "steps",
        "eval_steps": stage.evaluate_every,
        "save_strategy": "steps",
        "save_steps": stage.evaluate_every,  # so that the best one is on disk
        "save_total_limit": 2,
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_decisive",
        "greater_is_better": False,
        "restore_callback_states_from_checkpoint": True,
        "remove_unused_columns": False,  # items are batches, which have no columns
        "label_names": ["labels"],
        "report_to": list(recipe.report_to) or "none",
        "disable_tqdm": True,  # `Log` says how far training is
        "dataloader_pin_memory": not on_cpu,
        "ddp_find_unused_parameters": True,  # a task need not run all parts: alignment does not
    }
    try:
        return TrainingArguments(**{**settings, **recipe.trainer})
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise UserError(
            f"`trainer`: {reason}; name fields of transformers' TrainingArguments and values "
            "that they take."
        ) from error
