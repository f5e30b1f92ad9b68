"""Λ-shaped attention: every token sees the first tokens and the nearest, and no others.

Distances are those that training knew, and the cache holds nothing else. StreamingLLM and
LM-Infinite are both this; they differ in the distance at which the first tokens are seen. It is an
attention function of the library's registry, a cache layer, and a hook on a decoder that shares the
pair's weights; no class is changed.
"""

import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from e2llm.errors import E2LLMError
from e2llm.methods.decoders.rotary import check_rotary, rotary, trained_window, turn_by, turned
from e2llm.methods.decoders.twin import share
from e2llm.model.attention import attend_with
from e2llm.model.versions import cache_argument

NAME = "lambda"
# Kinds of rotary positions whose frequencies are the same for every text.
STEADY = ("default", "linear", "llama3", "yarn")


@dataclass(frozen=True)
class Shape:
    """Which tokens are seen, and how far away they look.

    Attributes:
        n_first: Tokens at the beginning that every token sees.
        n_near: Nearest tokens that a token sees, itself among them.
        farthest: Position from which a token sees first tokens that are not near.
        in_order: Whether those keep their own positions, 0 to `n_first` - 1; all stand at 0
            otherwise.
    """

    n_first: int
    n_near: int
    farthest: int
    in_order: bool

    def n_kept(self, n_seen: int) -> int:
        """Return how many of the tokens seen so far are kept for the next.

        They are the first, and all that are near to it.
        """
        return min(n_seen, self.n_first + self.n_near - 1)


def check_decoder(decoder: Any) -> None:
    """Check that a decoder can attend so.

    Raises:
        E2LLMError: Its positions are not rotary, of several kinds or change with the text's length,
            or some of its layers see less than its window.
    """
    check_rotary(decoder, *STEADY)
    config = decoder.config.get_text_config()
    rotate = getattr(sys.modules[type(decoder).__module__], "rotate_half", None)
    if rotate is None or rotate(torch.arange(4)).tolist() != [-2, -3, 0, 1]:
        raise E2LLMError(
            f"the decoder ({config.model_type}) does not turn the halves of a head against "
            "each other, which this method needs."
        )
    window = trained_window(decoder)
    if (getattr(config, "sliding_window", None) or window) < window:
        raise E2LLMError(
            f"the decoder ({config.model_type}) has layers with a sliding window of their "
            "own; this method needs one that has none."
        )


def lambda_decoder(decoder: Any, shape: Shape) -> Any:
    """Return a decoder that attends so and shares its weights with `decoder`.

    It needs a cache of `lambda_cache`.
    """
    twin = share(decoder)
    attend_with(twin, NAME, _attention, _no_mask)
    name = cache_argument()

    def add_view(module: nn.Module, given: Any, options: dict[str, Any]) -> tuple[Any, Any]:
        ids = options.get("input_ids")
        inputs = options["inputs_embeds"] if ids is None else ids  # (batch, seq, ...)
        n_before = options[name].get_seq_length()
        view = View.make(shape, n_before, inputs.shape[1], rotary(module).inv_freq)
        return given, options | {"view": view}

    twin.register_forward_pre_hook(add_view, with_kwargs=True)
    return twin


def lambda_cache(decoder: Any, shape: Shape) -> Cache:
    """Return an empty cache that keeps what is seen later, and nothing else."""
    n_layers = decoder.config.get_text_config().num_hidden_layers
    return Cache(layers=[LambdaLayer(shape) for _ in range(n_layers)])


class LambdaLayer(DynamicLayer):
    """Keys and values of one layer: those of the first tokens, and of the nearest."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.n_seen = 0

    def update(
        self, key_states: Tensor, value_states: Tensor, *arguments: Any, **options: Any
    ) -> tuple[Tensor, Tensor]:
        """Return what is kept with the new ones after it, and keep what the next token sees.

        Shape:
            key_states, value_states (batch, kv_heads, n_new, head_dim) -> twice (batch, kv_heads,
            n_kept + n_new, head_dim)
        """
        keys, values = super().update(key_states, value_states)
        self.n_seen += key_states.shape[-2]
        self.keys, self.values = self._kept(keys), self._kept(values)
        return keys, values

    def get_seq_length(self) -> int:
        """Return how many tokens have been seen, kept or not."""
        return self.n_seen

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return how many keys the next tokens find, and no offset."""
        return self.shape.n_kept(self.n_seen) + query_length, 0

    def _kept(self, states: Tensor) -> Tensor:
        excess = states.shape[-2] - self.shape.n_kept(self.n_seen)
        if not excess:
            return states
        n_first = self.shape.n_first
        # What is dropped stands between the first tokens and the nearest.
        first, near = states[..., :n_first, :], states[..., n_first + excess :, :]
        # New storage, so that what is dropped is free.
        return torch.cat([first, near], dim=-2)  # (batch, kv_heads, n_kept, head_dim)


@dataclass(frozen=True)
class View:
    """What a group of tokens sees, for all layers.

    Attributes:
        visible: (n_new, n_keys), whether a key is seen.
        far: (n_new, n_first), whether a first token is seen that is not near; None where none is.
        query_turn, key_turn: Cosines and sines, (n_new, rotary_dim) and (n_first, rotary_dim), that
            turn queries and first keys to the positions in which they meet.
    """

    visible: Tensor
    far: Tensor | None
    query_turn: tuple[Tensor, Tensor]
    key_turn: tuple[Tensor, Tensor]

    @classmethod
    def make(cls, shape: Shape, n_before: int, n_new: int, frequencies: Tensor) -> "View":
        """Make the view of `n_new` tokens that come after `n_before`."""
        device, n_seen = frequencies.device, n_before + n_new
        first = torch.arange(min(shape.n_first, n_seen), device=device)  # (n_first,)
        # Where all is kept still, the others follow the first; later there is a gap.
        start = n_before - shape.n_kept(n_before) + len(first)
        others = torch.arange(start, n_seen, device=device)  # (n_others,)
        queries = torch.arange(n_before, n_seen, device=device)  # (n_new,)
        keys = torch.cat([first, others])  # (n_keys,)
        distance = queries[:, None] - keys  # (n_new, n_keys)
        near = distance < shape.n_near
        far = ~near[:, : len(first)]  # (n_new, n_first)
        return cls(
            visible=(distance >= 0) & (near | (keys < shape.n_first)),
            far=far if far.any() else None,
            query_turn=turn_by(queries.clamp(max=shape.farthest) - queries, frequencies),
            key_turn=turn_by(first * 0 if shape.in_order else -first, frequencies),
        )


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    view: View,
    scaling: float,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attend as a view says.

    Shape:
        query (batch, heads, n_new, head_dim), key and value (batch, kv_heads, n_keys, head_dim) ->
        (batch, n_new, heads, head_dim)
    """
    if view.far is None:  # what is near is seen as ever
        visible = view.visible[None, None]  # (1, 1, n_new, n_keys)
        return sdpa_attention_forward(module, query, key, value, visible, scaling=scaling)
    query = query * scaling
    scores = _products(query, key)  # (batch, heads, n_new, n_keys)
    n_first = view.far.shape[-1]
    first = turned(key[:, :, :n_first], view.key_turn)  # (batch, kv_heads, n_first, head_dim)
    far = _products(turned(query, view.query_turn), first)  # (batch, heads, n_new, n_first)
    # First tokens that are not near are seen as from the farthest position.
    scores[..., :n_first] = torch.where(view.far, far, scores[..., :n_first])
    # The kernel sums in float32, whatever it reads and writes; every pass over the scores costs
    # more time than the products.
    weights = scores.masked_fill_(~view.visible, float("-inf")).softmax(-1)
    out = _products(weights, value.transpose(-1, -2))  # (batch, heads, n_new, head_dim)
    return out.transpose(1, 2).contiguous(), None  # (batch, n_new, heads, head_dim)


def _products(left: Tensor, right: Tensor) -> Tensor:
    """Multiply heads with the fewer heads of keys or values, each of which serves several.

    Shape:
        (batch, heads, n, dim), (batch, kv_heads, m, dim) -> (batch, heads, n, m)
    """
    batch, heads, n, dim = left.shape
    grouped = left.reshape(batch, right.shape[1], -1, dim)  # (batch, kv_heads, heads each x n, dim)
    return (grouped @ right.transpose(-1, -2)).view(batch, heads, n, -1)  # (batch, heads, n, m)


def _no_mask(*arguments: Any, **options: Any) -> None:
    """The attention function masks by itself."""
