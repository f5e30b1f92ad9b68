"""LoRA of the plain form, merged into the weights without PEFT.

PEFT takes seconds to import, to wrap the layers and to merge them. The plain form is two matrices
for a linear layer and one scale; whatever says more is left to PEFT.
"""

import json
import re
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from e2llm.model.modeling import E2LLMForCausalLM

_PREFIX = "base_model.model."
_FACTOR = re.compile(r"(.+)\.lora_(A|B)\.weight")
# What a plain LoRA's configuration may say; every other field must say nothing.
_READ = ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "modules_to_save", "peft_type")
_OF_TRAINING = (
    "task_type",
    "inference_mode",
    "lora_dropout",
    "target_modules",
    "exclude_modules",
    "init_lora_weights",
    "base_model_name_or_path",
    "revision",
    "peft_version",
    "megatron_core",
    "qalora_group_size",
)


def merge_plain_lora(model: E2LLMForCausalLM, config_file: str, weights_file: str) -> bool:
    """Merge a LoRA that PEFT saved, to the same weights as PEFT's own merging, and freeze the rest.

    Args:
        model: The pair without LoRA; nothing of it is changed where the answer is no.
        config_file, weights_file: PEFT's `adapter_config.json` and `adapter_model.safetensors`.

    Returns:
        Whether the LoRA was of the plain form and is merged.
    """
    try:
        with open(config_file, encoding="utf-8") as file:
            config = json.load(file)
        tensors = load_file(weights_file)
    except (OSError, ValueError, SafetensorError):
        return False  # PEFT says what is wrong with them
    if not _is_plain(config) or not all(name.startswith(_PREFIX) for name in tensors):
        return False
    tensors = {name.removeprefix(_PREFIX): tensor for name, tensor in tensors.items()}
    factors = {name: tensors.pop(name) for name in list(tensors) if _FACTOR.fullmatch(name)}
    wanted = {f"adapter.{name}": own.shape for name, own in model.adapter.state_dict().items()}
    # Beside LoRA the whole adapter is kept, and nothing else.
    if {name: tensor.shape for name, tensor in tensors.items()} != wanted:
        return False
    modules = dict(model.named_modules())
    scales: dict[str, float] = {}
    for layer in dict.fromkeys(_FACTOR.sub(r"\1", name) for name in factors):
        scale = _scale(config, layer, modules.get(layer), factors)
        if scale is None:
            return False
        scales[layer] = scale
    with torch.no_grad():
        for layer, scale in scales.items():
            weight = modules[layer].weight
            down, up = (
                factors[f"{layer}.lora_{part}.weight"].to(weight.device).float() for part in "AB"
            )
            # (d_out, rank) @ (rank, d_in) -> (d_out, d_in)
            weight += (up @ down).mul_(scale)
    model.load_state_dict(tensors, strict=False)
    model.requires_grad_(False)
    model.adapter.requires_grad_(True)
    return True


def _is_plain(config: dict[str, Any]) -> bool:
    rest = config.keys() - {*_READ, *_OF_TRAINING}
    return (
        config.get("peft_type") == "LORA"
        and config.get("modules_to_save") == ["adapter"]
        and config.get("init_lora_weights") in (True, False, "gaussian")
        and all(not config[name] or config[name] == "none" for name in rest)
    )


def _scale(
    config: dict[str, Any], layer: str, module: nn.Module | None, factors: dict[str, Tensor]
) -> float | None:
    """Return what the product of a layer's two matrices is multiplied by; None if not plain."""
    down, up = (factors.get(f"{layer}.lora_{part}.weight") for part in "AB")
    if down is None or up is None or type(module) is not nn.Linear:
        return None
    rank = _of_pattern(config["rank_pattern"], layer, config["r"])
    if not module.weight.is_floating_point() or down.shape != (rank, module.in_features):
        return None
    if up.shape != (module.out_features, rank):
        return None
    return float(_of_pattern(config["alpha_pattern"], layer, config["lora_alpha"]) / rank)


def _of_pattern(patterns: dict[str, Any], layer: str, default: Any) -> Any:
    """Return what the first pattern says that fits a layer's name, as PEFT reads them."""
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", layer):
            return value
    return default
