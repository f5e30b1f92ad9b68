"""Resonance RoPE (Wang et al. 2024, arXiv 2403.00071): YaRN with whole wavelengths."""

import math
from dataclasses import dataclass

from torch import Tensor

from e2llm.methods.position.yarn import Yarn


@dataclass
class Resonance(Yarn):
    """Read the whole document as text with Resonance YaRN, without training.

    Every wavelength is a whole number of positions: such a dimension takes, beyond the trained
    window, no angle that it did not take within.

    Attributes:
        factor: The scale s of YaRN (as there; the authors' own run, Llama-2 to 32K tokens, has 8).
        beta_fast, beta_slow: As in YaRN; the authors keep them.
    """

    def frequencies(self, n_positions: int) -> tuple[Tensor, float]:
        """Return YaRN's with their wavelengths rounded (the authors' `resonance_register`)."""
        frequencies, scaling = super().frequencies(n_positions)
        wavelengths = (2 * math.pi / frequencies).round()  # (rotary_dim / 2,)
        return 2 * math.pi / wavelengths, scaling
