"""Attention while training: the encoder's on CPUs, and that of packed rows."""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from e2llm.model.attention import attend_with

FLOAT32, PACKED = "sdpa_float32", "sdpa_packed"
# Rows are read faster by plain matrix products, so many queries at a time, than by the library's
# kernel: 2 to 3 times from 100 to 900 positions, 1.3 at 1,700. But what is kept for the backward
# pass grows with the square of a row: so many scores of all heads at most, 20 MB in bfloat16 a
# layer (rows of 1,500 positions with 9 heads, of 800 with 32).
BLOCK, MOST_SCORES = 128, 9 * 1_500**2 // 2
# Layers that see other positions through attention alone; recurrent ones and convolutions would
# read on from one packed row into the next.
_ATTENDING = {"full_attention", "sliding_attention", "chunked_attention"}


def attend_in_float32(encoder: PreTrainedModel) -> None:
    """Let an encoder attend in float32; one that has no SDPA keeps its own attention.

    Under bfloat16 autocast on a CPU the library's kernel takes twice as long for the encoder's
    short rows and narrow heads.
    """
    if encoder.config._attn_implementation == "sdpa":
        attend_with(encoder, FLOAT32, _attend_in_float32)


def attend_packed(decoder: PreTrainedModel) -> bool:
    """Let a decoder read rows packed into one as if each stood alone; return whether it can.

    `position_ids` then begin anew with every row, and `cu_seq_lens_q` says where each begins, as
    the library's flash attention has it. Where a window slides, the library's mask keeps the rows
    apart.
    """
    config = decoder.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if (
        config._attn_implementation != "sdpa"
        or not decoder._supports_attention_backend
        or decoder._is_stateful
        or kinds - _ATTENDING
    ):
        return False
    attend_with(decoder, PACKED, _attend_packed, _packed_mask)
    return True


def reads_packed(decoder: PreTrainedModel) -> bool:
    """Tell whether `attend_packed` has been here."""
    return decoder.config._attn_implementation == PACKED


def _attend_in_float32(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend as the library does, in float32.

    Shape:
        query (batch, heads, seq, d_head), key and value (batch, key heads, seq, d_head) ->
        (batch, seq, heads, d_head)
    """
    # A mask that is added must have the type of the scores.
    if attention_mask is not None and attention_mask.is_floating_point():
        attention_mask = attention_mask.float()
    with torch.autocast(query.device.type, enabled=False):
        # (batch, seq, heads, d_head)
        output, _ = sdpa_attention_forward(
            module, query.float(), key.float(), value.float(), attention_mask, **kwargs
        )
    return output.to(query.dtype), None


def _attend_packed(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    cu_seq_lens_q: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend within each of the rows that `cu_seq_lens_q` marks in the one that they are packed in.

    Shape:
        query (1, heads, seq, d_head), key and value (1, key heads, seq, d_head), cu_seq_lens_q
        (n_rows + 1,) -> (1, seq, heads, d_head)
    """
    # Rows that are not packed, or that the library's mask keeps apart already.
    if cu_seq_lens_q is None or attention_mask is not None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    # Dropout, a bias by position and values of another width are left to the library.
    plain = (
        not kwargs.get("dropout")
        and kwargs.get("position_bias") is None
        and query.shape[-1] == value.shape[-1]
    )
    outputs = []
    lengths = cu_seq_lens_q.diff().tolist()  # n_rows numbers
    rows = (states.split(lengths, 2) for states in (query, key, value))
    # (1, heads, length, d_head), keys and values with fewer heads
    for own_query, own_key, own_value in zip(*rows, strict=True):
        n_heads, length = own_query.shape[1:3]
        own = (own_query, own_key, own_value)
        if plain and n_heads * length**2 // 2 <= MOST_SCORES:
            outputs.append(_attend_by_blocks(*own, scaling=kwargs.get("scaling")))
        else:
            outputs.append(sdpa_attention_forward(module, *own, None, **kwargs)[0])
    return torch.cat(outputs, 1), None  # (1, seq, heads, d_head)


def _attend_by_blocks(query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
    """Attend causally by plain matrix products, the query heads of one key head at once.

    Shape:
        query (1, heads, n, d_head), key and value (1, groups, n, d_head) -> (1, n, heads, d_head)
    """
    _, n_heads, n, width = query.shape
    n_groups = key.shape[1]
    scale = width**-0.5 if scaling is None else scaling
    queries = query.reshape(n_groups, -1, n, width) * scale  # (groups, heads of one, n, d_head)
    keys = key[0].transpose(1, 2)  # (groups, d_head, n)
    outputs = []
    # No block needs the keys after it, which leaves out half of the square of scores.
    for start in range(0, n, BLOCK):
        block = queries[:, :, start : start + BLOCK]  # (groups, heads of one, n_own, d_head)
        n_own, end = block.shape[2], start + block.shape[2]
        block = block.reshape(n_groups, -1, width)  # (groups, heads of one * n_own, d_head)
        scores = torch.bmm(block, keys[:, :, :end])  # (groups, heads of one * n_own, end)
        # Keys before the block are seen by all of it, those in it causally.
        scores[:, :, start:] += _causal(n_own, n_heads // n_groups, query.dtype)
        # (groups, heads of one * n_own, d_head)
        output = torch.bmm(scores.softmax(-1), value[0, :, :end])
        # (groups, heads of one, n_own, d_head)
        outputs.append(output.view(n_groups, -1, n_own, width))
    joined = torch.cat(outputs, 2)  # (groups, heads of one, n, d_head)
    return joined.view(1, n_heads, n, width).transpose(1, 2)  # (1, n, heads, d_head)


@lru_cache(maxsize=BLOCK)
def _causal(n: int, n_repeats: int, dtype: torch.dtype) -> Tensor:
    """Return the causal mask of a block once per query head, (n_repeats * n, n)."""
    return torch.full((n, n), float("-inf"), dtype=dtype).triu(1).repeat(n_repeats, 1)


def _packed_mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """Return no mask where a row sees all that came before in it and nothing else.

    Elsewhere it is the library's own.
    """
    length, window = kwargs.get("kv_length"), kwargs.get("local_size")
    # Whole rows, and no window that is shorter than they are: causality alone limits what is seen.
    whole = (
        kwargs.get("batch_size") == 1
        and kwargs.get("q_length") == length
        and (window is None or window >= length)
    )
    special = kwargs.get("attention_mask") is not None or kwargs.get("use_vmap")
    if whole and not special and "allow_is_bidirectional_skip" not in kwargs:
        return None
    return sdpa_mask(*args, **kwargs)
