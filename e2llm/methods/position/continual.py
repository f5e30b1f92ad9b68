"""Continual pretraining of the decoder at a longer window, then fine-tuning on questions.

It is what the paper's reviewers missed beside E2LLM. Rotary positions are stretched as in Xiong et
al. 2023 (arXiv 2309.16039: the base of the frequencies is raised, "ABF") or as in Chen et al. 2023
(arXiv 2306.15595: positions are divided by the factor, "PI").
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from e2llm.checks import check_choice
from e2llm.errors import UserError
from e2llm.methods.decoders.rotary import rotary, trained_window
from e2llm.methods.position.base import LongerWindow

ROPES = ("abf", "pi")
STRETCHES = ("beyond", "always")


@dataclass
class Continual(LongerWindow):
    """Read the whole document as text, after training at the longer window.

    Training reads texts first and then questions.

    Attributes:
        factor: Width of the window over that of the trained one (Xiong et al.: 4,096 to 32,768).
        rope: "abf" or "pi".
        base_factor: What "abf" multiplies the base by (Xiong et al., section 4.1: 10,000 to
            500,000).
        stretch: "beyond": a text that fits the trained window is read at the decoder's own
            positions; "always": it is not, as in the papers.
    """

    rope: str = "abf"
    base_factor: float = 50.0
    stretch: str = "beyond"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("rope", self.rope, ROPES)
        check_choice("stretch", self.stretch, STRETCHES)
        if not 1 <= self.base_factor < float("inf"):
            raise UserError(
                f"`base_factor` (={self.base_factor!r}) must be a number of at least 1; 1 "
                "keeps the base."
            )

    def frequencies(self, n_positions: int) -> tuple[Tensor, float]:
        """Return the stretched frequencies, or the decoder's own where they serve."""
        plain, scaling = self._plain
        if n_positions <= trained_window(self.pair.base.decoder) and self.stretch == "beyond":
            return plain, scaling
        # A position divided by the factor is a frequency divided by it.
        if self.rope == "pi":
            return plain / self.factor, scaling
        n = len(plain)
        # With a base b times as large, frequency j, base^(-2 j / d), is multiplied by b^(-2 j / d).
        falls = -torch.arange(n, device=plain.device) / n  # (rotary_dim / 2,)
        return plain * self.base_factor**falls, scaling

    @cached_property
    def _plain(self) -> tuple[Tensor, float]:
        positions = rotary(self.module)  # before anything is written to it
        return positions.inv_freq.clone(), positions.attention_scaling
