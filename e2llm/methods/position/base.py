"""Base of the methods that widen the decoder's window by slower rotary positions, without training."""

import copy
from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from e2llm.engines.transformers import TransformersEngine
from e2llm.errors import UserError
from e2llm.methods.base import Prompt, Reading
from e2llm.methods.bounds.full_text import FullText
from e2llm.methods.position.twin import check_rotary, rotary, share, trained_window


@dataclass
class WiderWindow(FullText):
    """Read the whole document as text in a window `factor` times as wide as the trained one.

    The frequencies are set once for a prompt and its answer, so that queries agree with the keys in
    the cache.

    Attributes:
        factor: Width of the window over that of the trained one.
    """

    factor: float = 16.0
    role: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if (
            isinstance(self.factor, bool)
            or not isinstance(self.factor, int | float)
            or not 1 <= self.factor < float("inf")
        ):
            raise UserError(
                f"`factor` (={self.factor!r}) must be a number of at least 1; 1 keeps the "
                "trained window."
            )
        check_rotary(self.pair.base.decoder, "default")

    @abstractmethod
    def frequencies(self, n_positions: int) -> tuple[Tensor, float]:
        """Return the frequencies, (rotary_dim / 2,), for a text of `n_positions`, and what queries
        and keys are multiplied by.
        """

    @cached_property
    def decoder(self) -> Any:
        """The pair's decoder with rotary positions of its own; the weights are shared."""
        return share(self.pair.base.decoder)

    @property
    def window(self) -> int:
        """As many times the trained window as `factor` says."""
        return int(self.factor * trained_window(self.pair.base.decoder))

    def read(self, text: str) -> Reading:
        """Keep the text."""
        return replace(
            super().read(text), engine=_Engine(self.decoder, self.pair.processor.tokenizer)
        )

    def prompt(self, kept: Any, question: str, max_new_tokens: int) -> Prompt:
        """Return the text with the question after it, and set the decoder to the length of it all."""
        prompt = super().prompt(kept, question, max_new_tokens)
        module = rotary(self.decoder)
        frequencies, module.attention_scaling = self.frequencies(len(prompt.ids) + max_new_tokens)
        module.inv_freq.copy_(frequencies)
        return prompt

    def library_frequencies(self, n_positions: int, **parameters: Any) -> tuple[Tensor, float]:
        """Return what the library makes of these `rope_parameters`."""
        config = copy.deepcopy(self.pair.base.decoder.config.get_text_config())
        config.rope_parameters = config.rope_parameters | parameters
        return ROPE_INIT_FUNCTIONS[parameters["rope_type"]](
            config, device=self.decoder.device, seq_len=n_positions
        )


class _Engine(TransformersEngine):
    """Forget the cache of the prompt before where its keys were turned by other frequencies."""

    _frequencies: Tensor | None = None

    def stream(self, *arguments: Any) -> Any:
        frequencies = rotary(self.decoder).inv_freq.clone()
        if self._frequencies is None or not torch.equal(frequencies, self._frequencies):
            self._kept = None
        self._frequencies = frequencies
        return super().stream(*arguments)
