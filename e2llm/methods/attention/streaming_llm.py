"""StreamingLLM (Xiao et al. 2023, arXiv 2309.17453): attention sinks and the latest tokens."""

from dataclasses import dataclass

from e2llm.checks import check_count
from e2llm.methods.attention.base import FlatMemory
from e2llm.methods.decoders.lambda_attention import Shape
from e2llm.methods.decoders.rotary import trained_window


@dataclass
class StreamingLlm(FlatMemory):
    """Read the whole document as text and remember its first and last tokens.

    Positions are those in the cache (paper, section 3.2): a token sees the sinks, which are the
    first tokens, as far away as they stand in the cache, however far away they are in the text.
    Pieces give what the paper's way, token by token, gives.

    Attributes:
        sink_tokens: First tokens that stay (4; paper, table 2).
        recent_tokens: Last tokens that stay beside them; None fills the trained window (4 + 4092
            for Llama-2's 4096; paper, table 2).
    """

    sink_tokens: int = 4
    recent_tokens: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("sink_tokens", self.sink_tokens, 0)
        check_count("recent_tokens", self.shape.n_near - 1, 1)

    @property
    def shape(self) -> Shape:
        """Sinks, and recent tokens beside the one that looks."""
        window = trained_window(self.pair.base.decoder)
        n_recent = window - self.sink_tokens if self.recent_tokens is None else self.recent_tokens
        farthest = self.sink_tokens + n_recent
        return Shape(self.sink_tokens, n_recent + 1, farthest, in_order=True)
