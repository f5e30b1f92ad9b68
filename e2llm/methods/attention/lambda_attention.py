"""Λ-shaped attention: every token sees the first tokens and the nearest, at distances that training
knew; the cache holds no others.

StreamingLLM and LM-Infinite are both this; they differ in the distance at which the first tokens
are seen. An attention function of the library's registry, a cache layer, and a hook on a decoder
that shares the pair's weights; no class is changed.
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
from e2llm.methods.position.twin import check_rotary, rotary, share, trained_window
from e2llm.model.attention import attend_with
from e2llm.model.versions import cache_argument

NAME = "lambda"
# Kinds of rotary positions whose frequencies are the same for every text.
_STEADY = ("default", "linear", "llama3", "yarn")


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
        """Return how many of the tokens seen so far are kept for the next: the first, and all that
        are near to it.
        """
        return min(n_seen, self.n_first + self.n_near - 1)


def check_decoder(decoder: Any) -> None:
    """Check that a decoder can attend so.

    Raises:
        E2LLMError: Its positions are not rotary, of several kinds or change with the text's length,
            or some of its layers see less than its window.
    """
    check_rotary(decoder, *_STEADY)
    config = decoder.config.get_text_config()
    rotate = getattr(sys.modules[type(decoder).__module__], "rotate_half", None)
    if rotate is None or rotate(torch.arange(4)).tolist() != [-2, -3, 0, 1]:
        raise E2LLMError(
            f"the decoder ({config.model_type}) does not turn the halves of a head against "
            "each other, which this method needs."
        )
    if (getattr(config, "sliding_window", None) or trained_window(decoder)) < trained_window(
        decoder
    ):
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

    def add_view(
        module: nn.Module, arguments: Any, options: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        inputs = next(
            options[kind]
            for kind in ("input_ids", "inputs_embeds")
            if options.get(kind) is not None
        )
        view = _View.make(
            shape, options[name].get_seq_length(), inputs.shape[1], rotary(module).inv_freq
        )
        return arguments, options | {"view": view}

    twin.register_forward_pre_hook(add_view, with_kwargs=True)
    return twin


def lambda_cache(decoder: Any, shape: Shape) -> Cache:
    """Return an empty cache that keeps what is seen later, and nothing else."""
    return Cache(
        layers=[
            LambdaLayer(shape) for _ in range(decoder.config.get_text_config().num_hidden_layers)
        ]
    )


class LambdaLayer(DynamicLayer):
    """Keys and values of one layer: those of the first tokens, and of the nearest."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.n_seen = 0

    def update(
        self, key_states: Tensor, value_states: Tensor, *arguments: Any, **options: Any
    ) -> tuple[Tensor, Tensor]:
        """Return what is kept with the new ones after it, and keep of them what the next token
        sees.
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
        # New storage, so that what is dropped is free.
        return (
            states
            if not excess
            else torch.cat(
                [
                    states[..., : self.shape.n_first, :],
                    states[..., self.shape.n_first + excess :, :],
                ],
                dim=-2,
            )
        )


@dataclass(frozen=True)
class _View:
    """What a group of tokens sees, for all layers.

    Attributes:
        visible: (n_queries, n_keys), whether a key is seen.
        far: (n_queries, n_far), whether a first token is seen that is not near; None where none is.
        query_turn, key_turn: Cosines and sines, (n, rotary_dim), that turn queries and first keys
            to the positions in which they meet.
    """

    visible: Tensor
    far: Tensor | None
    query_turn: tuple[Tensor, Tensor]
    key_turn: tuple[Tensor, Tensor]

    @classmethod
    def make(cls, shape: Shape, n_before: int, n_new: int, frequencies: Tensor) -> "_View":
        n_kept, n_seen = shape.n_kept(n_before), n_before + n_new
        first = torch.arange(min(shape.n_first, n_seen), device=frequencies.device)
        # Where all is kept still, the others follow the first; later there is a gap.
        others = torch.arange(
            n_seen - n_kept - n_new + len(first), n_seen, device=frequencies.device
        )
        queries, keys = (
            torch.arange(n_before, n_seen, device=frequencies.device),
            torch.cat([first, others]),
        )
        distance = queries[:, None] - keys
        near = distance < shape.n_near
        far = ~near[:, : len(first)]
        query_turn = _turn(queries.clamp(max=shape.farthest) - queries, frequencies)
        key_turn = _turn(first * 0 if shape.in_order else -first, frequencies)
        return cls(
            (distance >= 0) & (near | (keys < shape.n_first)),
            far if far.any() else None,
            query_turn,
            key_turn,
        )


def _turn(by: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    angles = (
        by.cpu()[:, None].double() * frequencies.cpu().double()
    )  # not every accelerator has float64
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def _turned(states: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Turn the rotary part of (batch, heads, n, head_dim) further."""
    cos, sin = (part.to(states) for part in turn)
    half = cos.shape[-1] // 2
    rotated, rest = states[..., : 2 * half], states[..., 2 * half :]
    return torch.cat(
        [
            rotated * cos + torch.cat([-rotated[..., half:], rotated[..., :half]], dim=-1) * sin,
            rest,
        ],
        dim=-1,
    )


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    view: _View,
    scaling: float,
    **options: Any,
) -> tuple[Tensor, None]:
    if view.far is None:  # what is near is seen as ever
        return sdpa_attention_forward(
            module, query, key, value, view.visible[None, None], scaling=scaling
        )
    query = query * scaling
    scores = _products(query, key)
    n_first = view.far.shape[-1]
    far = _products(_turned(query, view.query_turn), _turned(key[:, :, :n_first], view.key_turn))
    scores[..., :n_first] = torch.where(view.far, far, scores[..., :n_first])
    # The kernel sums in float32, whatever it reads and writes; every pass over the scores costs
    # more time than the products.
    weights = scores.masked_fill_(~view.visible, float("-inf")).softmax(-1)
    return _products(weights, value.transpose(-1, -2)).transpose(1, 2).contiguous(), None


def _products(left: Tensor, right: Tensor) -> Tensor:
    """Multiply (batch, heads, n, dim) with (batch, kv_heads, m, dim), each of which serves as many
    heads: (batch, heads, n, m).
    """
    batch, heads, n, dim = left.shape
    return (left.reshape(batch, right.shape[1], -1, dim) @ right.transpose(-1, -2)).view(
        batch, heads, n, -1
    )


def _no_mask(*arguments: Any, **options: Any) -> None:
    """The attention function masks by itself."""
