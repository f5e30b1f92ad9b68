"""Map pooled chunk states into the decoder's input space (paper section 3.1, "Adapter").

An adapter owns its pooling and its scale, and differs from the others in the layers that it has
(`build`) and in what they do (`project`). Adding one is a class here and a line in `ADAPTERS`.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from e2llm.errors import UserError
from e2llm.model.pooling import Pooling, group, masked_mean

# Of "residual": width of the MLP against the decoder's, and how many places of a group have a
# vector of their own.
RESIDUAL_WIDTH = 3
N_PLACES = 32


class Adapter(nn.Module):
    """Turn token states into soft tokens: group, pool, project, scale.

    They are scaled to the norm of the decoder's own input embeddings, which it was trained to read.

    Args:
        pooling: What each group of token states becomes before `project`.
        d_enc, d_dec: Widths of encoder and decoder.
        soft_token_norm: Norm that a soft token has at initialisation; training may change it by a
            gain per dimension.
        n_heads: Attention heads, for adapters that attend.

    Shape:
        states (n_tokens, d_enc), soft_ids (n_tokens,) -> soft tokens (n_soft, d_dec)
    """

    default_pooling: ClassVar[str] = "mean"
    normalizes: ClassVar[bool] = True

    def __init__(
        self,
        pooling: Pooling,
        d_enc: int,
        d_dec: int,
        soft_token_norm: float = 1.0,
        n_heads: int = 4,
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.d_dec = d_dec
        self.norm = nn.RMSNorm(d_dec, eps=1e-6) if self.normalizes else nn.Identity()
        self.scale = soft_token_norm / d_dec**0.5
        self.build(d_enc, d_dec, n_heads)

    def forward(self, states: Tensor, soft_ids: Tensor, n_soft: int) -> Tensor:
        """Return the `n_soft` soft tokens that the states feed, in order.

        Args:
            states: (n_tokens, d_enc).
            soft_ids: (n_tokens,), as in `pooling.group`.
            n_soft: How many there are.
        """
        weight = next(self.parameters())
        # (n_tokens, d_enc) -> (n_soft, group_len, d_enc)
        groups, mask = group(states.to(weight), soft_ids.to(weight.device), n_soft)
        pooled, mask = self.pooling(groups, mask)  # (n_soft, length, d_enc)
        return self.norm(self.project(pooled, mask)) * self.scale  # (n_soft, d_dec)

    def build(self, d_enc: int, d_dec: int, n_heads: int) -> None:
        """Make the layers; the pooling and the norm are there already."""
        raise NotImplementedError(f"{type(self).__name__}.build")

    def project(self, states: Tensor, mask: Tensor) -> Tensor:
        """Map (n_soft, length, d_enc) states under a (n_soft, length) mask to (n_soft, d_dec)."""
        raise NotImplementedError(f"{type(self).__name__}.project")


class LinearAdapter(Adapter):
    """One linear layer (the paper's ablation: worse than the MLP)."""

    def build(self, d_enc: int, d_dec: int, n_heads: int) -> None:
        """Make the layers."""
        self.linear = nn.Linear(d_enc, d_dec)

    def project(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return (n_soft, d_dec)."""
        # The mean of projections is the projection of the mean.
        return masked_mean(self.linear(states), mask)


class MLPAdapter(Adapter):
    """Two layers with GELU between: d_enc -> d_dec -> d_dec (paper v1)."""

    def build(self, d_enc: int, d_dec: int, n_heads: int) -> None:
        """Make the layers."""
        self.up = nn.Linear(d_enc, d_dec)
        self.down = nn.Linear(d_dec, d_dec)

    def project(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return (n_soft, d_dec)."""
        return masked_mean(self.down(F.gelu(self.up(states))), mask)


class VPMAAdapter(Adapter):
    """Pooling by multi-head attention with one learned query (EMNLP version, "vPMA").

    K = X W_K, V = X W_V; h = LN(MHA(q, K, V) + q); c = LN(h + FFN(h)). With k soft tokens the query
    attends within each of the k groups. The paper gives no width for the feed-forward network;
    d_dec is used.
    """

    default_pooling = "tokens"

    def build(self, d_enc: int, d_dec: int, n_heads: int) -> None:
        """Make the layers."""
        if n_heads < 1 or d_dec % n_heads:
            raise UserError(
                f"`adapter_heads` (={n_heads}) must divide the decoder's width (={d_dec}); "
                "the paper uses 4."
            )
        self.n_heads = n_heads
        self.query = nn.Parameter(torch.empty(d_dec))
        self.key = nn.Linear(d_enc, d_dec, bias=False)
        self.value = nn.Linear(d_enc, d_dec, bias=False)
        self.out = nn.Linear(d_dec, d_dec)
        self.attention_norm = nn.LayerNorm(d_dec)
        self.up = nn.Linear(d_dec, d_dec)
        self.down = nn.Linear(d_dec, d_dec)
        self.output_norm = nn.LayerNorm(d_dec)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the query; the layers have their own."""
        nn.init.normal_(self.query, std=0.02)

    def project(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return (n_soft, d_dec)."""
        n_soft, length, _ = states.shape
        heads = (n_soft, length, self.n_heads, self.d_dec // self.n_heads)
        # (n_soft, length, d_enc) -> (n_soft, n_heads, length, d_head)
        keys = self.key(states).view(heads).transpose(1, 2)
        values = self.value(states).view(heads).transpose(1, 2)
        # One learned query for all groups: (d_dec,) -> (n_soft, n_heads, 1, d_head)
        query = self.query.view(1, self.n_heads, 1, -1).expand(n_soft, -1, -1, -1)
        seen = mask[:, None, None, :]  # (n_soft, 1, 1, length)
        attended = F.scaled_dot_product_attention(query, keys, values, attn_mask=seen)
        attended = attended.reshape(n_soft, self.d_dec)  # (n_soft, n_heads, 1, d_head) joined
        hidden = self.attention_norm(self.out(attended) + self.query)
        return self.output_norm(hidden + self.down(F.gelu(self.up(hidden))))


class ResidualAdapter(Adapter):
    """A linear layer with an MLP beside it, and a mean that knows the order (our own).

    y_t = p_place(t) * (S x_t + D GELU(U x_t)) with x_t = LN(state); a soft token is sum_t y_t /
    sqrt(k) over the k states of its group. The vectors p tell the places of a group apart, which a
    plain mean mixes up; place 0 has p = 1 at first, so that a group of one is read as it is.
    """

    default_pooling = "tokens"
    normalizes = False

    def build(self, d_enc: int, d_dec: int, n_heads: int) -> None:
        """Make the layers."""
        self.input_norm = nn.LayerNorm(d_enc)
        self.skip = nn.Linear(d_enc, d_dec)
        self.up = nn.Linear(d_enc, RESIDUAL_WIDTH * d_dec)
        self.down = nn.Linear(RESIDUAL_WIDTH * d_dec, d_dec)
        self.places = nn.Parameter(torch.empty(N_PLACES, d_dec))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the places' vectors and a map that keeps the norm; begin without the MLP."""
        nn.init.normal_(self.skip.weight, std=self.skip.in_features**-0.5)
        nn.init.zeros_(self.skip.bias)
        nn.init.normal_(self.places, mean=1.0, std=0.5)
        nn.init.ones_(self.places[0])
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def project(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return (n_soft, d_dec)."""
        # Without the padding, which may be most of it: one long group pads all others.
        normed = self.input_norm(states[mask])  # (n_tokens, d_enc)
        projected = self.skip(normed) + self.down(F.gelu(self.up(normed)))  # (n_tokens, d_dec)
        places = torch.arange(mask.shape[1], device=mask.device).clamp(max=N_PLACES - 1)
        bound = projected * self.places[places.expand_as(mask)[mask]]
        groups = bound.new_zeros(*mask.shape, self.d_dec)  # (n_soft, length, d_dec)
        groups[mask] = bound
        n_states = mask.sum(1, keepdim=True).clamp(min=1)  # (n_soft, 1)
        # By the square root: independent states keep their norm, whatever the group's length.
        return (groups.sum(1, dtype=torch.float32) / n_states.sqrt()).to(states.dtype)


ADAPTERS: dict[str, type[Adapter]] = {
    "linear": LinearAdapter,
    "mlp": MLPAdapter,
    "vpma": VPMAAdapter,
    "residual": ResidualAdapter,
}
