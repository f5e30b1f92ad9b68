"""What differs between the versions of transformers that are supported."""

import inspect
from typing import Any

from transformers import GenerationMixin


def cache_argument() -> str:
    """Return what this transformers calls the cache among the arguments of `generate`.

    It is "cache", or "past_key_values" before 5.20 or so.
    """
    parameters = inspect.signature(GenerationMixin.prepare_inputs_for_generation).parameters
    return "cache" if "cache" in parameters else "past_key_values"


def checkpoint_activations(model: Any) -> None:
    """Let a model compute its layers again in the backward pass, in place of keeping their outputs.

    Transformers called this gradient checkpointing before 5.24 or so.
    """
    enable = getattr(model, "activation_checkpointing_enable", None)
    (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})
