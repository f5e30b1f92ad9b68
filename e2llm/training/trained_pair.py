"""The pair that was trained: shards made whole, and all of it saved."""

import importlib
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from e2llm.model import E2LLMProcessor
from e2llm.model.checkpoint import save_pair
from e2llm.training.checkpoints import writing
from e2llm.training.objective import Objective
from e2llm.training.recipe import Recipe


def unshard(objective: Objective, keeps: bool) -> None:
    """Put whole parameters, in main memory, where FSDP2 or DeepSpeed's ZeRO-3 left shards.

    All processes meet here; those that do not keep the weights drop them again at once.
    """
    for module in objective.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if isinstance(parameter, DTensor):  # FSDP2
                whole: Tensor = parameter.full_tensor()  # of the shape before it was sharded
            elif hasattr(parameter, "ds_id"):  # ZeRO-3
                with importlib.import_module("deepspeed").zero.GatheredParameters([parameter]):
                    whole = parameter.detach().clone()
            else:
                continue
            if keeps:
                setattr(module, name, nn.Parameter(whole.detach().cpu(), parameter.requires_grad))


def save(objective: Objective, processor: E2LLMProcessor, recipe: Recipe, folder: Path) -> None:
    """Write the trained pair: adapter and LoRA beside the names of its bases.

    Where a base was trained in full, every weight is written.
    """
    temporary = folder.with_name(f".{folder.name}.tmp")  # renamed when it is whole
    shutil.rmtree(temporary, ignore_errors=True)
    objective.base.config.trained = True
    dtype = getattr(torch, recipe.save_dtype)
    for parameter in objective.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
    model: Any = objective.model
    if isinstance(model, PeftModel) and not objective.base.holds_bases(lora=False):
        # LoRA beside a base that was trained in full: the base is written, with LoRA in it.
        model = model.merge_and_unload()
    with writing(folder):
        save_pair(model, processor, temporary)
        # safetensors makes files for their owner alone.
        for weights in temporary.rglob("*.safetensors"):
            shutil.copymode(temporary / "config.json", weights)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
