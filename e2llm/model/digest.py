"""Digests of a model's weights: the fingerprint that every compressed document carries."""

import hashlib
import re
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from e2llm.model.configuration import E2LLMConfig

SAMPLES_PER_TENSOR = 1_024


def digest_weights(model: nn.Module, prefixes: tuple[str, ...] = ("",), lora: bool = True) -> str:
    """Digest a model's parameters as they act, or those whose names begin with a prefix.

    Up to 1,024 evenly spaced values of every tensor are taken, in bfloat16: training changes
    practically all values, while the same weights give the same digest in any precision and on any
    device, in well under a second. With `lora`, LoRA counts as merged into the weights that it
    changes.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(_acting_parameters(model, lora), key=lambda item: item[0]):
        if not name.startswith(prefixes):
            continue
        flat = tensor.detach().flatten()  # (n_values,)
        sample = flat[:: max(1, len(flat) // SAMPLES_PER_TENSOR)][:SAMPLES_PER_TENSOR].cpu()
        sample = sample.to(torch.bfloat16) if sample.is_floating_point() else sample
        digest.update(f"{name} {tuple(tensor.shape)} ".encode())
        digest.update(sample.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _acting_parameters(model: nn.Module, lora: bool) -> Iterator[tuple[str, Tensor]]:
    """Yield parameters under their names without PEFT's wrappers, with what active LoRA adds."""
    modules = dict(model.named_modules())
    for name, tensor in model.named_parameters():
        if "lora_" in name or ".original_module." in name:
            continue
        owner, wrapped, leaf = name.rpartition(".base_layer.")
        layer = modules.get(owner) if wrapped else None
        adds = lora and layer is not None and leaf == "weight"
        if layer is not None and adds and not layer.merged and not layer.disable_adapters:
            for active in layer.active_adapters:
                if active in layer.lora_A:
                    tensor = tensor + layer.get_delta_weight(active).to(tensor)
        yield re.sub(r"\.(base_layer|modules_to_save\.[^.]+)\.", ".", name), tensor


def fingerprint(model: nn.Module, config: E2LLMConfig) -> str:
    """Digest what decides a pair's soft tokens, so that no other pair ever reads stored ones.

    Args:
        model: The pair's model, without PEFT's wrapper.
        config: Its configuration.
    """
    settings = (
        config.adapter,
        config.encoder_layers,
        config.pooling,
        config.adapter_heads,
        config.encoder_max_tokens,
        config.document_prompt,
        config.embedding_pooling,
    )
    embedding = (
        config.embedding_normalize,
        config.embedding_include_prompt,
        round(config.soft_token_norm, 4),
    )
    return hashlib.sha256(f"{settings} {embedding} {digest_weights(model)}".encode()).hexdigest()
