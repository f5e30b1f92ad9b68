"""LoRA on a pair: put it on, list its layers, extend it to another part, widen it."""

import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer

from e2llm.errors import UserError
from e2llm.model.modeling import E2LLMForCausalLM

# Which linear layers LoRA reaches, in encoder and decoder alike, whatever their family calls them.
LORA_TARGETS = (
    r"(encoder|decoder)\..*\.("
    # Llama and most after it
    r"q_proj|k_proj|v_proj|o_proj|out_proj|qkv_proj|gate_proj|up_proj|down_proj|gate_up_proj"
    r"|query|key|value|dense"  # BERT, RoBERTa, GPT-NeoX, Phi
    r"|query_key_value|dense_h_to_4h|dense_4h_to_h|fc1|fc2"  # GPT-NeoX, Phi
    r"|c_attn|c_proj|c_fc"  # GPT-2
    r"|attn\.[qkvo]|Wqkv|Wi|Wo"  # MPNet, ModernBERT
    r")"
)


def attach_lora(
    model: E2LLMForCausalLM, rank: int = 16, alpha: int = 32, dropout: float = 0.0, **options: Any
) -> PeftModel:
    """Put LoRA on encoder and decoder; the adapter stays fully trainable (paper section 3.1).

    Args:
        rank: LoRA rank (the paper: 16-32 for the encoder, 8-16 for the decoder; `rank_pattern` in
            `options` sets them apart).
        alpha: LoRA scale.
        dropout: LoRA dropout.
        options: Further fields of PEFT's `LoraConfig`.
    """
    settings = {
        "target_modules": LORA_TARGETS,
        "modules_to_save": ["adapter"],
        "task_type": "CAUSAL_LM",
        **options,
    }
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, **settings)
    with quiet_peft():
        return get_peft_model(model, config)


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Silence what PEFT says of a model that it handles rightly."""
    with warnings.catch_warnings():
        # It sets this by itself for GPT-2's layers, whose weights lie the other way round.
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to")
        # It asks transformers by the old name.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        yield


def lora_layers(model: PeftModel, part: str) -> list[LoraLayer]:
    """Return the layers of a part ("encoder" or "decoder") that have LoRA."""
    modules = model.get_base_model().get_submodule(part).modules()
    return [module for module in modules if isinstance(module, LoraLayer)]


def extend_lora(model: PeftModel, part: str, targets: str, rank: int, alpha: float) -> None:
    """Put LoRA on a part of a pair whose LoRA is on the other part alone.

    At first it changes nothing that the pair computes.

    Args:
        model: The pair under PEFT.
        part: "encoder" or "decoder".
        targets: Pattern of the layers that it reaches.
        rank, alpha: Its rank and scale.
    """
    name = model.active_adapter
    config = model.peft_config[name]
    before = config.target_modules
    if not isinstance(before, str):  # the ends of the layers' names
        before = rf"(.*\.)?({'|'.join(map(re.escape, before))})"
    config.rank_pattern = {**config.rank_pattern, rf"{part}\..*": rank}
    config.alpha_pattern = {**config.alpha_pattern, rf"{part}\..*": alpha}
    config.target_modules = targets  # PEFT puts LoRA on what this names and leaves the rest
    with quiet_peft():
        model.base_model.inject_adapter(model.get_base_model(), name)
    for layer in lora_layers(model, part):  # in float32, as where LoRA is attached or loaded
        layer.lora_A.float()
        layer.lora_B.float()
    config.target_modules = f"{before}|{targets}"


def widen_lora(model: PeftModel, part: str, rank: int) -> None:
    """Give the LoRA of a part a higher rank, and change nothing that it computes.

    New rows of A are drawn as PEFT draws them, and the new columns of B are zero.

    Args:
        model: The pair under PEFT.
        part: "encoder" or "decoder".
        rank: The new rank; what is as wide already stays.

    Raises:
        UserError: Its layers have ranks, scales or patterns of their own, which one configuration
            could not say for the new rank.
    """
    config = model.peft_config[model.active_adapter]
    layers = lora_layers(model, part)
    narrow = [layer for layer in layers if layer.r[model.active_adapter] < rank]
    if not narrow:
        return
    scales = {layer.scaling[model.active_adapter] for layer in layers}
    ranks = {key: own for key, own in config.rank_pattern.items() if not key.startswith(part)}
    alphas = {key: own for key, own in config.alpha_pattern.items() if not key.startswith(part)}
    other = {"encoder": "decoder", "decoder": "encoder"}[part]
    apart = all(key.startswith(other) for key in [*ranks, *alphas])
    if len(scales) > 1 or len(narrow) < len(layers) or not apart:
        raise UserError(
            f"`{part}.rank` (={rank}): the layers of the pair's LoRA differ in rank, scale or "
            "pattern; leave `rank` at the lowest of theirs."
        )
    (scale,) = scales
    alpha = scale * (math.sqrt(rank) if config.use_rslora else rank)
    name = model.active_adapter
    for layer in narrow:
        # down (rank, d_in), up (d_out, rank): their product is what LoRA adds to a weight.
        down, up, n_more = layer.lora_A[name], layer.lora_B[name], rank - layer.r[name]
        rows = down.weight.new_empty(n_more, down.in_features)
        torch.nn.init.kaiming_uniform_(rows, a=math.sqrt(5))
        columns = up.weight.new_zeros(up.out_features, n_more)
        for factor, more, dim in ((down, rows, 0), (up, columns, 1)):
            wider = torch.cat([factor.weight.detach(), more], dim)
            factor.weight = torch.nn.Parameter(wider, factor.weight.requires_grad)
        down.out_features = up.in_features = layer.r[name] = rank
        layer.lora_alpha[name] = alpha
    pattern = rf"{part}\..*"
    config.rank_pattern = {**ranks, pattern: rank}
    config.alpha_pattern = {**alphas, pattern: alpha}
