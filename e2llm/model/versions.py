"""What differs between the versions of transformers that are supported."""

import inspect

from transformers import GenerationMixin


def cache_argument() -> str:
    """Return what this transformers calls the cache among the arguments of `generate`: "cache", or
    "past_key_values" before 5.20 or so.
    """
    parameters = inspect.signature(GenerationMixin.prepare_inputs_for_generation).parameters
    return "cache" if "cache" in parameters else "past_key_values"
