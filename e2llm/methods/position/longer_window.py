"""Base of the methods that train the decoder itself, with LoRA, to read a longer window of text."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from e2llm.checks import check_count
from e2llm.errors import UserError, WindowError
from e2llm.methods.bounds.full_text import FullText
from e2llm.methods.fitting.trainable import (
    TrainableMethod,
    add_lora,
    merge_lora,
    token_nats,
    without_lora,
)
from e2llm.methods.position.base import WiderWindow
from e2llm.methods.position.twin import rotary


@dataclass
class LongerWindow(TrainableMethod, WiderWindow):
    """Read the whole document as text with a decoder that was trained to read a window `factor`
    times as wide.

    Attributes:
        factor: Width of the window over that of the trained one.
        text_share: Part of the training, at its beginning, that is continued pretraining on texts.
            The papers train on texts alone, or for far longer on texts than on questions; half of
            what there is here goes to each.
        rank, alpha: LoRA on all linear layers of the decoder: those of E2LLM's own decoder.
    """

    factor: float = 8.0
    text_share: float = 0.5
    rank: int = 16
    alpha: float = 32.0

    def __post_init__(self) -> None:
        TrainableMethod.__post_init__(self)
        WiderWindow.__post_init__(self)
        check_count("rank", self.rank, 1)
        if not 0 <= self.text_share <= 1:
            raise UserError(f"`text_share` (={self.text_share!r}) must lie between 0 and 1.")

    def build(self) -> nn.Module:
        """Put LoRA on the base decoder."""
        return add_lora(self.base_decoder(), self.rank, self.alpha)

    @property
    def decoder(self) -> Any:
        """The trained decoder, LoRA merged into its weights; training never asks for it, as to take
        LoRA out again leaves rounding behind.
        """
        merge_lora(self.module, True)
        return self._without_lora

    def nats(self, document: str, question: str, answer: str) -> Tensor:
        """Return the negative log-likelihood of an answer after the text and the question."""
        ids = self.answer_ids(answer)
        return self._nats(FullText.prompt(self, self.keep(document), question, len(ids)).ids, ids)

    def text_nats(self, text: str) -> Tensor:
        """Return the negative log-likelihood of every token of a text but the first."""
        ids = self.pair.processor.text_ids(text, begins=True)
        if len(ids) > self.window:
            raise WindowError(
                f"window: a text of {len(ids):,} tokens is longer than the window of "
                f"{self.window:,}; train on shorter ones."
            )
        return self._nats(ids[:1], ids[1:])

    @cached_property
    def _without_lora(self) -> Any:
        return without_lora(self.module)

    def _nats(self, read: list[int], ids: list[int]) -> Tensor:
        positions = rotary(self.module)
        frequencies, positions.attention_scaling = self.frequencies(len(read) + len(ids))
        positions.inv_freq.copy_(frequencies)
        inputs = torch.tensor([read + ids], device=positions.inv_freq.device)
        merge_lora(self.module, False)
        return token_nats(
            self.module(input_ids=inputs, use_cache=False, logits_to_keep=len(ids) + 1).logits[
                0, :-1
            ],
            ids,
        )
