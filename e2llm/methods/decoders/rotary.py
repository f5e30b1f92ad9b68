"""A decoder's rotary positions: where they are made, and states turned to other positions."""

from typing import Any

import torch
from torch import Tensor

from e2llm.errors import E2LLMError


def trained_window(decoder: Any) -> int:
    """Return how many positions a decoder was trained for."""
    return decoder.config.get_text_config().max_position_embeddings


def rotary(decoder: Any) -> Any:
    """Return the one module that makes a decoder's rotary positions.

    Its `inv_freq` are the frequencies, (rotary_dim / 2,).

    Raises:
        E2LLMError: The decoder has none, or one for each kind of layer.
    """
    found = [
        module
        for module in decoder.modules()
        if isinstance(getattr(module, "inv_freq", None), Tensor)
    ]
    if len(found) != 1:
        raise E2LLMError(
            f"the decoder ({decoder.config.model_type}) has not one set of rotary positions "
            "for all its layers, which this method needs."
        )
    return found[0]


def check_rotary(decoder: Any, *kinds: str) -> None:
    """Check that a decoder has one set of rotary positions, of one of these kinds.

    Args:
        decoder: The decoder.
        kinds: The library's `rope_type`, any of them.

    Raises:
        E2LLMError: It has not.
    """
    rotary(decoder)
    kind = decoder.config.get_text_config().rope_parameters["rope_type"]
    if kind not in kinds:
        raise E2LLMError(
            f"the decoder's rotary positions are scaled already (rope_type={kind!r}); this "
            f"method takes {', '.join(kinds)}."
        )


def turn_by(steps: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cosines and sines that turn states further by so many positions.

    Shape:
        steps (n,), frequencies (rotary_dim / 2,) -> twice (n, rotary_dim), float64 on the CPU
    """
    # Not every accelerator has float64, which large positions need.
    angles = steps.cpu()[:, None].double() * frequencies.cpu().double()  # (n, rotary_dim / 2)
    angles = torch.cat([angles, angles], dim=-1)  # (n, rotary_dim)
    return angles.cos(), angles.sin()


def turned(states: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Return states whose rotary part is turned further, (batch, heads, n, head_dim) as given."""
    cos, sin = (part.to(states) for part in turn)  # each (n, rotary_dim)
    half = cos.shape[-1] // 2
    # (batch, heads, n, rotary_dim), and what of a head has no position
    rotated, rest = states[..., : 2 * half], states[..., 2 * half :]
    # (batch, heads, n, rotary_dim)
    crossed = torch.cat([-rotated[..., half:], rotated[..., :half]], dim=-1)
    return torch.cat([rotated * cos + crossed * sin, rest], dim=-1)  # (batch, heads, n, head_dim)
