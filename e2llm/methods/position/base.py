"""Base of the methods that widen the decoder's window by slower rotary positions."""

import copy
from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from e2llm.checks import check_count
from e2llm.engines.transformers import TransformersEngine
from e2llm.errors import UserError, WindowError
from e2llm.methods.base import Prompt, Reading
from e2llm.methods.bounds.full_text import FullText
from e2llm.methods.decoders.lora import add_lora, merge_lora, without_lora
from e2llm.methods.decoders.rotary import check_rotary, rotary, trained_window
from e2llm.methods.decoders.twin import share
from e2llm.methods.fitting.trainable import TrainableMethod, token_nats


@dataclass
class WiderWindow(FullText):
    """Read the whole document as text in a window `factor` times as wide, without training.

    The frequencies are set once for a prompt and its answer, so that queries agree with the keys in
    the cache.

    Attributes:
        factor: Width of the window over that of the trained one.
    """

    factor: float = 16.0
    role: ClassVar[str] = ""

    def __post_init__(self) -> None:
        number = isinstance(self.factor, int | float) and not isinstance(self.factor, bool)
        if not number or not 1 <= self.factor < float("inf"):
            raise UserError(
                f"`factor` (={self.factor!r}) must be a number of at least 1; 1 keeps the "
                "trained window."
            )
        check_rotary(self.pair.base.decoder, "default")

    @abstractmethod
    def frequencies(self, n_positions: int) -> tuple[Tensor, float]:
        """Return the frequencies for a text of `n_positions`, (rotary_dim / 2,).

        The number beside them is what queries and keys are multiplied by.
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
        engine = _Engine(self.decoder, self.pair.processor.tokenizer)
        return replace(super().read(text), engine=engine)

    def prompt(self, kept: Any, question: str, max_new_tokens: int) -> Prompt:
        """Return the text with the question after it, and set the decoder to their length."""
        prompt = super().prompt(kept, question, max_new_tokens)
        module = rotary(self.decoder)
        # For all that prompt and answer may reach, before the first key is turned.
        frequencies, module.attention_scaling = self.frequencies(len(prompt.ids) + max_new_tokens)
        module.inv_freq.copy_(frequencies)
        return prompt

    def library_frequencies(self, n_positions: int, **parameters: Any) -> tuple[Tensor, float]:
        """Return what the library makes of these `rope_parameters`."""
        config = copy.deepcopy(self.pair.base.decoder.config.get_text_config())
        config.rope_parameters = config.rope_parameters | parameters
        make = ROPE_INIT_FUNCTIONS[parameters["rope_type"]]
        return make(config, device=self.decoder.device, seq_len=n_positions)


@dataclass
class LongerWindow(TrainableMethod, WiderWindow):
    """Read the whole document as text in a window `factor` times as wide, after training in it.

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
        """The trained decoder, LoRA merged into its weights.

        Training never asks for it, as to take LoRA out again leaves rounding behind.
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
        inputs = torch.tensor([read + ids], device=positions.inv_freq.device)  # (1, seq)
        merge_lora(self.module, False)
        output = self.module(input_ids=inputs, use_cache=False, logits_to_keep=len(ids) + 1)
        logits = output.logits[0, :-1]  # (n_answer_tokens, vocab)
        return token_nats(logits, ids)


class _Engine(TransformersEngine):
    """Forget the cache of the prompt before where its keys were turned by other frequencies."""

    _frequencies: Tensor | None = None

    def stream(self, *arguments: Any) -> Any:
        frequencies = rotary(self.decoder).inv_freq.clone()
        if self._frequencies is None or not torch.equal(frequencies, self._frequencies):
            self._kept = None
        self._frequencies = frequencies
        return super().stream(*arguments)
