"""Dynamic NTK (bloc97, emozilla 2023): the frequencies' base grows with the text's length.

YaRN's paper (arXiv 2309.00071) describes it in section 3.3.
"""

from dataclasses import dataclass

from torch import Tensor

from e2llm.methods.position.base import WiderWindow


@dataclass
class DynamicNtk(WiderWindow):
    """Read the whole document as text with dynamic NTK scaling, without training.

    Within the trained window nothing changes. The library computes the scale anew for every written
    token and leaves the keys in its cache at older ones (huggingface/transformers, issue 25104);
    here prompt and answer have one, for the length that both may reach.

    Attributes:
        factor: Width of the window over that of the trained one; it decides only what is refused.
        alpha: The library's `factor`: the base grows with alpha * length / trained window - (alpha
            - 1). 2 is the one that the method was published with (turboderp/exllama, issue 126).
    """

    factor: float = 16.0
    alpha: float = 2.0

    def frequencies(self, n_positions: int) -> tuple[Tensor, float]:
        """Return the library's `rope_type="dynamic"` at this length."""
        return self.library_frequencies(n_positions, rope_type="dynamic", factor=self.alpha)
