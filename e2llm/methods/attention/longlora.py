"""LongLoRA (Chen et al. 2023, arXiv 2309.12307): trained with shifted sparse attention.

In training the text is cut into groups, within which a token attends; for half of the heads the
cuts are half a group further, so that what one layer keeps apart the next brings together (section
3.2). Reading has full attention. Beside LoRA, embeddings and norms are trained (section 3.3).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from e2llm.errors import UserError
from e2llm.methods.position.continual import Continual
from e2llm.model.attention import attend_with

NAME = "shifted-sparse"


@dataclass
class LongLora(Continual):
    """Read the whole document as text, after training with shifted sparse attention.

    Attributes:
        factor: Width of the window over that of the trained one (paper, table 3: Llama-2-7B from
            4,096 to 32,768).
        rope: "pi" in the paper (section 3.1).
        group_share: Width of a group over that of the window (paper, section 3.2: a quarter).
    """

    rope: str = "pi"
    group_share: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.group_share <= 1 or self.group < 2:
            raise UserError(
                f"`group_share` (={self.group_share!r}) must be above 0 and at most 1, and a "
                "group must hold two tokens; the paper has 0.25."
            )

    @property
    def group(self) -> int:
        """Tokens of a group."""
        return int(self.window * self.group_share)

    def build(self) -> nn.Module:
        """Put LoRA on the base decoder, whose attention is sparse while it trains.

        Gradients reach its embeddings and norms too.
        """
        decoder: Any = super().build()
        attend_with(decoder, NAME, _attention)
        decoder.get_input_embeddings().requires_grad_(True)
        for name, parameter in decoder.named_parameters():
            if "norm" in name.lower():
                parameter.requires_grad_(True)

        def add_group(module: nn.Module, given: Any, options: dict[str, Any]) -> tuple[Any, Any]:
            return given, options | ({"group": self.group} if module.training else {})

        decoder.register_forward_pre_hook(add_group, with_kwargs=True)
        return decoder


def shifted_attention(
    query: Tensor, key: Tensor, value: Tensor, group: int, scaling: float | None = None
) -> Tensor:
    """Attend causally within groups, which for half of the heads begin half a group later.

    The authors' code rolls the last half of a group to the front of the text; here it stays a group
    of its own, so that no token sees a later one.

    Shape:
        query (batch, heads, seq, head_dim), key and value (batch, kv_heads, seq, head_dim) ->
        (batch, heads, seq, head_dim)
    """
    heads, half = query.shape[1], group // 2
    n_shared = heads // key.shape[1]
    # One key head for every query head: each (batch, heads, seq, head_dim)
    key, value = (states.repeat_interleave(n_shared, dim=1) for states in (key, value))
    states = torch.stack([query, key, value])  # (3, batch, heads, seq, head_dim)
    # Each half of the heads, (3, batch, heads / 2, seq, head_dim)
    first, second = states[:, :, : heads // 2], states[:, :, heads // 2 :]
    # For the second half of the heads the first cut comes after half a group.
    before, after = second[..., :half, :], second[..., half:, :]
    shifted = [_grouped(before, group, scaling), _grouped(after, group, scaling)]
    halves = [_grouped(first, group, scaling), torch.cat(shifted, dim=2)]
    return torch.cat(halves, dim=1)  # each half of the heads (batch, heads / 2, seq, head_dim)


def _grouped(states: Tensor, group: int, scaling: float | None) -> Tensor:
    """Attend causally within groups of neighbours, of which the last may be shorter.

    Shape:
        states (3, batch, heads, seq, head_dim), queries, keys and values -> (batch, heads, seq,
        head_dim)
    """
    _, batch, _, seq, _ = states.shape
    if not states.numel():
        return states[0]
    group = min(group, seq)
    n_groups = -(-seq // group)
    # What pads the last group comes after all that sees it.
    # (3, batch, heads, n_groups x group, head_dim)
    padded = F.pad(states, (0, 0, 0, n_groups * group - seq))
    groups = padded.unflatten(3, (n_groups, group))  # (3, batch, heads, n_groups, group, head_dim)
    # Each (batch x n_groups, heads, group, head_dim)
    query, key, value = groups.transpose(2, 3).flatten(1, 2)
    # (batch x n_groups, heads, group, head_dim)
    out = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
    out = out.unflatten(0, (batch, n_groups))  # (batch, n_groups, heads, group, head_dim)
    return out.transpose(1, 2).flatten(2, 3)[:, :, :seq]  # (batch, heads, seq, head_dim)


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    group: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    if group is None:  # reading, with full attention
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
    # Trained norms and embeddings are in float32, where autocast makes of the products something
    # narrower.
    out = shifted_attention(query.to(value.dtype), key.to(value.dtype), value, group, scaling)
    return out.transpose(1, 2).contiguous(), None  # (batch, seq, heads, head_dim)
