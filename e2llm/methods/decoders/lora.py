"""LoRA of a method's own on a decoder: put on, merged and taken out again, left out of a view."""

from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn

from e2llm.methods.decoders.twin import share
from e2llm.model.lora import quiet_peft


def add_lora(decoder: Any, rank: int, alpha: float) -> Any:
    """Put LoRA on all linear layers of a decoder but its head; return the decoder.

    LoRA changes nothing yet, and gradients reach it alone.
    """
    config = LoraConfig(
        r=rank, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    with quiet_peft():
        decoder = inject_adapter_in_model(config, decoder)
    for name, parameter in decoder.named_parameters():
        parameter.requires_grad_("lora_" in name)
        if "lora_" in name:
            parameter.data = parameter.data.to(decoder.dtype)
    return decoder


def merge_lora(module: nn.Module, merged: bool) -> None:
    """Add LoRA into the weights that it changes, in place, or take it out again.

    Only where it is out can it be trained.
    """
    for layer in module.modules():
        if isinstance(layer, LoraLayer) and layer.merged != merged:
            layer.merge() if merged else layer.unmerge()


def without_lora(decoder: Any) -> Any:
    """Return a second view of a decoder without LoRA's layers, which shares its weights.

    It is what reads while LoRA is merged into them.
    """
    # Its buffers are copies, and what is copied in inference mode cannot be written to later.
    with torch.inference_mode(False):
        twin = share(decoder)
    for name, layer in list(twin.named_modules()):
        if isinstance(layer, LoraLayer):
            twin.set_submodule(name, layer.get_base_layer())
    return twin
