"""Going on from a cache that a method has filled: a branch of it, and the engine that writes on."""

import copy
from typing import Any

from torch import Tensor
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase

from e2llm.engines.transformers import TransformersEngine


def branch(cache: Cache) -> Cache:
    """Return a cache to go on from, which leaves the given one as it is.

    Layers replace their tensors and never write into them, so that none is copied.
    """
    return Cache(layers=[copy.copy(layer) for layer in cache.layers])


class CacheEngine(TransformersEngine):
    """Go on from a cache that holds all of the prompt but its last token.

    Args:
        decoder, tokenizer: As in `TransformersEngine`.
        cache: What the decoder goes on from, for one answer.
    """

    def __init__(
        self, decoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, cache: Cache
    ) -> None:
        super().__init__(decoder, tokenizer)
        self.cache = cache

    def _reuse(self, kept: Any, inputs_embeds: Tensor, state: object) -> tuple[Any, int]:
        return self.cache, len(inputs_embeds) - 1
