"""Attention functions of our own, through the library's registry.

Here lies that of one token on CPUs, where the library's kernel copies keys for every head.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

GROUPED = "sdpa_grouped"


def attend_with(
    model: PreTrainedModel,
    name: str,
    attention: Callable[..., Any],
    mask: Callable[..., Any] = sdpa_mask,
) -> None:
    """Let a model attend by a function, which is registered by name with the maker of its masks."""
    AttentionInterface.register(name, attention)
    AttentionMaskInterface.register(name, mask)
    model.set_attn_implementation(name)


def attend_by_groups(decoder: PreTrainedModel) -> None:
    """Let a decoder on a CPU read each key once for all query heads that share it.

    That is for one token that attends; a decoder without SDPA keeps its own attention.
    """
    if decoder.config._attn_implementation == "sdpa" and decoder.device.type == "cpu":
        attend_with(decoder, GROUPED, _attention)


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    batch, n_heads, length, width = query.shape
    plain = attention_mask is None and kwargs.get("position_bias") is None
    if length > 1 or n_heads == key.shape[1] or not plain:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    # The heads that share a key stand as rows: (batch, n_kv_heads, n_heads / n_kv_heads, d_head)
    grouped = query.reshape(batch, key.shape[1], -1, width)
    output = F.scaled_dot_product_attention(
        grouped, key, value, dropout_p=kwargs.get("dropout", 0.0), scale=kwargs.get("scaling")
    )
    return output.reshape(batch, 1, n_heads, -1), None  # (batch, seq = 1, n_heads, d_head)
