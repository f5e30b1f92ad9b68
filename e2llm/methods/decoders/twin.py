"""A second view of a decoder: the same weights in memory, modules that a method may change."""

import copy
from typing import Any


def share(decoder: Any) -> Any:
    """Return a copy of a decoder that shares its parameters, so that it takes no more memory."""
    shared = {id(parameter): parameter for parameter in decoder.parameters()}
    return copy.deepcopy(decoder, shared).eval()
