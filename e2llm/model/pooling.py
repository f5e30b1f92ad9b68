"""Pool the token states of a chunk into k groups (paper section 3.1; k = 1 is the paper).

`group` lines the states up as (n_soft, group_len, d_enc): one row per soft token, holding the
consecutive token states that feed it. A `Pooling` then turns each row into the states that the
adapter reads: one state, or, for "tokens", all of them.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn


def group(states: Tensor, soft_ids: Tensor, n_soft: int) -> tuple[Tensor, Tensor]:
    """Line up token states by the soft token that they feed.

    Args:
        states: (n_tokens, d_enc).
        soft_ids: (n_tokens,) index of each state's soft token, non-decreasing; -1 for a state that
            feeds none.
        n_soft: Number of soft tokens; each must be fed by at least one state.

    Returns:
        Groups (n_soft, group_len, d_enc) padded with zeros, and their mask (n_soft, group_len).
    """
    kept = soft_ids >= 0
    states, soft_ids = states[kept], soft_ids[kept]  # (n_kept, d_enc), (n_kept,)
    counts = torch.bincount(soft_ids, minlength=n_soft)  # (n_soft,)
    starts = counts.cumsum(0) - counts  # (n_soft,): each group's first state
    places = torch.arange(len(soft_ids), device=soft_ids.device) - starts[soft_ids]  # (n_kept,)
    # At least 1: an adapter finds a place to look at, also where no row does.
    group_len = int(counts.max()) if n_soft else 1
    groups = states.new_zeros(n_soft, group_len, states.shape[-1])
    groups[soft_ids, places] = states  # (n_soft, group_len, d_enc)
    mask = torch.arange(group_len, device=soft_ids.device) < counts[:, None]
    return groups, mask


def masked_mean(states: Tensor, mask: Tensor) -> Tensor:
    """Average states where the mask is set, summed in float32.

    Shape:
        states (n, length, d), mask (n, length) -> (n, d)
    """
    weights = mask.unsqueeze(-1)  # (n, length, 1)
    total = (states * weights).sum(1, dtype=torch.float32)  # (n, d)
    return (total / weights.sum(1).clamp(min=1)).to(states.dtype)


class Pooling(nn.Module):
    """Turn each group of token states into the states that the adapter reads.

    Shape:
        states (n_soft, group_len, d_enc), mask (n_soft, group_len) -> states (n_soft, length,
        d_enc), mask (n_soft, length)
    """

    reads_special_tokens: ClassVar[bool] = False

    def __init__(self, d_enc: int) -> None:
        super().__init__()
        self.d_enc = d_enc

    def forward(self, states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Pool one group per row; the default keeps every state."""
        pooled = self.pool(states, mask).unsqueeze(1)  # (n_soft, 1, d_enc)
        return pooled, mask.new_ones(pooled.shape[:2])

    def pool(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return one state per group, (n_soft, d_enc)."""
        raise NotImplementedError(f"{type(self).__name__}.pool")


class MeanPooling(Pooling):
    """Average the states of the group: the sentence-transformers mean where k = 1."""

    def pool(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return (n_soft, d_enc)."""
        return masked_mean(states, mask)


class CLSPooling(Pooling):
    """Take the group's first state: the encoder's [CLS] where k = 1."""

    reads_special_tokens = True

    def pool(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return (n_soft, d_enc)."""
        return states[:, 0]


class AttentionPooling(Pooling):
    """Average the states of the group with weights from one learned query.

    It is the plain mean at initialisation.
    """

    def __init__(self, d_enc: int) -> None:
        super().__init__(d_enc)
        self.query = nn.Parameter(torch.zeros(d_enc))

    def pool(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return (n_soft, d_enc)."""
        scores = (states @ self.query) * self.d_enc**-0.5  # (n_soft, group_len)
        scores = scores.masked_fill(~mask, float("-inf"))
        weights = scores.softmax(-1, dtype=torch.float32).to(states.dtype)  # (n_soft, group_len)
        return torch.einsum("gt,gtd->gd", weights, states)

    def reset_parameters(self) -> None:
        """Start as the plain mean."""
        nn.init.zeros_(self.query)


class TokenPooling(Pooling):
    """Keep every token state of the group, for an adapter that attends over them ("vpma")."""

    def forward(self, states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the groups as they are."""
        return states, mask


POOLINGS: dict[str, type[Pooling]] = {
    "mean": MeanPooling,
    "cls": CLSPooling,
    "attention": AttentionPooling,
    "tokens": TokenPooling,
}
