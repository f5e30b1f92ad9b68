"""YaRN (Peng et al. 2023, arXiv 2309.00071): low frequencies are interpolated, high ones stay.

Attention is sharpened too. The frequencies are the library's own.
"""

from dataclasses import dataclass

from torch import Tensor

from e2llm.methods.decoders.rotary import trained_window
from e2llm.methods.position.base import WiderWindow


@dataclass
class Yarn(WiderWindow):
    """Read the whole document as text with YaRN, without training.

    Attributes:
        factor: The scale s (paper, section 4: 16 and 32). The attention's factor follows from it:
            0.1 ln(s) + 1 (section 3.4).
        beta_fast, beta_slow: Turns within the trained window above which a dimension stays, and
            below which it is interpolated (paper, section 3.2, for the Llama family).
    """

    factor: float = 16.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0

    def frequencies(self, n_positions: int) -> tuple[Tensor, float]:
        """Return the library's `rope_type="yarn"`, which is the same for every length."""
        return self.library_frequencies(
            n_positions,
            rope_type="yarn",
            factor=self.factor,
            beta_fast=self.beta_fast,
            beta_slow=self.beta_slow,
            original_max_position_embeddings=trained_window(self.pair.base.decoder),
        )
