"""Decoder engines: what runs the decoder on prepared embeddings; one file each."""

from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Real
from typing import Any, Protocol

from torch import Tensor

from e2llm.checks import check_count
from e2llm.errors import UserError


@dataclass(frozen=True)
class Sampling:
    """How the decoder writes; greedy unless told otherwise. The names are those of transformers.

    Attributes:
        max_new_tokens: Longest answer, in tokens.
        temperature: 0 is greedy; above 0 samples.
        top_p, top_k, min_p: Sample among the likeliest tokens alone; None for all of them.
        repetition_penalty: Above 1 makes repeated tokens less likely.
        num_beams: Beam search where above 1; it cannot be streamed, so the answer comes in one
            piece.
        seed: Seed of the sampling; None draws one.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    num_beams: int = 1
    seed: int | None = None

    @classmethod
    def of(cls, **options: Any) -> "Sampling":
        """Make one of options by name.

        Raises:
            UserError: An option is unknown or breaks its rule.
        """
        if unknown := options.keys() - cls.__dataclass_fields__.keys():
            raise UserError(
                f"`{min(unknown)}` is not a sampling option; use "
                f"{', '.join(cls.__dataclass_fields__)}."
            )
        return cls(**options)

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "num_beams", "top_k"):
            if getattr(self, name) is not None or name != "top_k":
                check_count(name, getattr(self, name), 1)
        for name in ("temperature", "top_p", "min_p", "repetition_penalty"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, Real)):
                raise UserError(f"`{name}` (={value!r}) must be a number.")
        if not 0 <= self.temperature < float("inf"):
            raise UserError(f"`temperature` (={self.temperature}) must be at least 0; 0 is greedy.")
        for name in ("top_p", "min_p"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise UserError(f"`{name}` (={value}) must lie above 0 and at most at 1.")
        for name in ("top_p", "top_k", "min_p"):
            if getattr(self, name) is not None and not self.temperature:
                raise UserError(
                    f"`{name}` (={getattr(self, name)}) is for sampling: it needs a "
                    "`temperature` above 0."
                )
        if self.seed is not None and not 0 <= self.seed < 2**63:
            raise UserError(f"`seed` (={self.seed}) must be at least 0 and less than 2**63.")
        if self.repetition_penalty is not None and self.repetition_penalty <= 0:
            raise UserError(
                f"`repetition_penalty` (={self.repetition_penalty}) must be above 0; 1 "
                "changes nothing."
            )


@dataclass
class Generation:
    """What an engine tells of a generation while it runs; read it when the stream has ended.

    Attributes:
        n_tokens: Tokens written.
        n_reused: Prompt positions found in the cache of the prompt before.
        finish_reason: Why it ended: "stop" where the decoder ended it, "length" where it was cut at
            `max_new_tokens`, "cancelled" where its reader left; None before that, and where the
            decoder failed.
    """

    n_tokens: int = 0
    n_reused: int = 0
    finish_reason: str | None = None


class Engine(Protocol):
    """Run a decoder on input embeddings."""

    def stream(
        self, inputs_embeds: Tensor, sampling: Sampling, generation: Generation
    ) -> Iterator[str]:
        """Yield the answer to a prompt piece by piece, and keep `generation` up to date.

        Half a character, of which the cut took the rest, is not yielded.

        Args:
            inputs_embeds: The prompt, (seq, d_dec).
            sampling: How to write.
            generation: What is told of it while it runs.
        """
        ...
