"""LM-Infinite (Han et al. 2023, arXiv 2308.16137): a Λ-shaped mask and a cap on distances."""

from dataclasses import dataclass

from e2llm.checks import check_count
from e2llm.methods.attention.base import FlatMemory
from e2llm.methods.decoders.lambda_attention import Shape
from e2llm.methods.decoders.rotary import trained_window


@dataclass
class LmInfinite(FlatMemory):
    """Read the whole document as text, each token after the first ones and those near to it.

    The first tokens are all seen at the farthest distance. The paper's optional attention to a few
    tokens between, in some layers, is left out.

    Attributes:
        first_tokens: First tokens that all see (10 in the authors' `convert_llama_model`; they find
            10 to 100 alike).
        near_tokens: Nearest tokens that a token sees, and the cap on distances; None the trained
            window (the paper's for both).
    """

    first_tokens: int = 10
    near_tokens: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("first_tokens", self.first_tokens, 0)
        check_count("near_tokens", self.shape.n_near, 1)

    @property
    def shape(self) -> Shape:
        """First tokens, and near ones."""
        n_near = self.near_tokens
        if n_near is None:
            n_near = trained_window(self.pair.base.decoder)
        return Shape(self.first_tokens, n_near, farthest=n_near, in_order=False)
