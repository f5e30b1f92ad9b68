"""Dynamic NTK (bloc97 and emozilla 2023; YaRN paper, arXiv 2309.00071, section 3.3): the base of
the frequencies grows with the text's length.
"""

from dataclasses import dataclass

from torch import Tensor

from e2llm.methods.position.base import WiderWindow


@dataclass
class DynamicNtk(WiderWindow):
    """Read the whole document as text with dynamic NTK scaling, without training; within the
    trained window nothing changes.

    The library computes the scale anew for every written token and leaves the keys in its cache at
    older ones (huggingface/transformers, issue 25104); here prompt and answer have one, for the
    length that both may reach.

    Attributes:
        factor: Width of the window over that of the trained one. It decides what is refused alone.
        alpha: The library's `factor`: the base grows with alpha * length / trained window - (alpha
            - 1). 2 is the one that the method was published with (turboderp/exllama, issue 126).
    """

    factor: float = 16.0
    alpha: float = 2.0

    def frequencies(self, n_positions: int) -> tuple[Tensor, float]:
        """Return the library's `rope_type="dynamic"` at this length."""
        return self.library_frequencies(n_positions, rope_type="dynamic", factor=self.alpha)
