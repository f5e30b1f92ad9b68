"""A second view of the pair's decoder: the same weights in memory, modules and configuration of its
own that a method may change.
"""

import copy
from typing import Any

from torch import Tensor

from e2llm.errors import E2LLMError


def share(decoder: Any) -> Any:
    """Return a copy of a decoder that shares its parameters, so that it takes no second place in
    memory.
    """
    return copy.deepcopy(
        decoder, {id(parameter): parameter for parameter in decoder.parameters()}
    ).eval()


def trained_window(decoder: Any) -> int:
    """Return how many positions a decoder was trained for."""
    return decoder.config.get_text_config().max_position_embeddings


def rotary(decoder: Any) -> Any:
    """Return the one module that makes a decoder's rotary positions; its `inv_freq` are the
    frequencies, (rotary_dim / 2,).

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
    """Check that a decoder has one set of rotary positions, of one of these kinds (the library's
    `rope_type`).

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
