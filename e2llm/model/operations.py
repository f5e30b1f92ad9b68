"""What reading and writing take: floating-point operations and bytes, by configuration and shapes.

A multiply and an add are two operations. Attention counts as the library's counter does
(`torch.utils.flop_counter`): every query times every key, although a causal kernel skips some;
`tests/evaluation/test_costs.py` holds the two against each other.
"""

from collections.abc import Sequence
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D


def linear_weights(model: Any) -> int:
    """Count the weights that multiply every token: those of the linear layers, without the head."""
    head = model.get_output_embeddings()
    return sum(
        module.weight.numel()
        for module in model.modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    )


def decoder_flops(decoder: Any, n_new: int, n_before: int = 0, n_logits: int = 1) -> int:
    """Count the operations of a decoder on a prompt.

    Args:
        decoder: The decoder.
        n_new: Positions that it reads.
        n_before: Positions before them, in the cache.
        n_logits: Positions at which its head is asked.
    """
    heads = decoder.get_output_embeddings().weight.numel() * n_logits
    return 2 * (linear_weights(decoder) * n_new + heads) + attention_flops(
        decoder, n_new, n_before + n_new
    )


def writing_flops(decoder: Any, n_prompt: int, n_tokens: int) -> int:
    """Count the operations of writing tokens after a prompt, which itself gives the first."""
    steps = max(0, n_tokens - 1)
    keys = steps * n_prompt + steps * (steps + 1) // 2
    return (
        decoder_flops(decoder, steps, 0, steps)
        - attention_flops(decoder, steps, steps)
        + attention_flops(decoder, 1, keys)
    )


def encoder_flops(encoder: Any, lengths: Sequence[int]) -> int:
    """Count the operations of the encoder on inputs of so many tokens; padding is left out."""
    linear = 2 * linear_weights(encoder) * sum(lengths)
    return linear + sum(attention_flops(encoder, length, length) for length in lengths)


def decoder_bytes(decoder: Any, positions: int) -> int:
    """Estimate the memory that a decoder needs for a prompt, beside its weights.

    It is the cache, and the widest activations of one layer.
    """
    config = decoder.config.get_text_config()
    heads, head_dim = head_shape(config)
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    return (
        positions
        * decoder.dtype.itemsize
        * (2 * config.num_hidden_layers * kv_heads * head_dim + 4 * config.hidden_size + 3 * inner)
    )


def attention_flops(model: Any, n_queries: int, n_keys: int) -> int:
    """Count the operations of every query times every key, and of the weighted values."""
    config = model.config.get_text_config()
    heads, head_dim = head_shape(config)
    return 4 * config.num_hidden_layers * heads * head_dim * n_queries * n_keys


def head_shape(config: Any) -> tuple[int, int]:
    """Return how many attention heads a decoder has, and how wide one is."""
    heads = config.num_attention_heads
    return heads, getattr(config, "head_dim", None) or config.hidden_size // heads
