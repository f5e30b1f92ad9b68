"""How the encoder and the decoder are trained: LoRA or every weight."""

from dataclasses import dataclass

from e2llm.checks import check_choice
from e2llm.errors import UserError
from e2llm.training.recipe.rules import check_between, check_least

PARTS = ("adapter", "encoder", "decoder")
RANK = 16  # of a new LoRA


@dataclass(frozen=True)
class PartSettings:
    """How a pretrained part is trained in those stages that train it.

    Attributes:
        mode: "lora" (the paper) or "full".
        rank: LoRA rank (the paper: 16-32 for the encoder, 8-16 for the decoder); None for `RANK`,
            or for that of the pair to go on from, whose LoRA is made wider, never narrower, and
            keeps its scale and dropout.
        alpha: LoRA scale; None for twice the rank.
        dropout: LoRA dropout. The dropout of the pretrained part itself is off: soft tokens are
            regressed, not regularised.
        targets: Some of the linear layers that LoRA reaches, by the names that their family gives
            them, such as [q_proj, v_proj]; None for all. Not for a pair to go on from whose LoRA
            has its places already.
    """

    mode: str = "lora"
    rank: int | None = None
    alpha: float | None = None
    dropout: float = 0.0
    targets: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, ["lora", "full"])
        if self.targets is not None and not self.targets:
            raise UserError(
                "`targets` (=[]) names no layer; name some, or leave it out for all linear layers."
            )
        if self.targets is not None and self.mode != "lora":
            raise UserError(
                f"`targets` (={[*self.targets]}) is for LoRA; leave it out where `mode` is "
                f"{self.mode}."
            )
        if self.rank is not None:
            check_least("rank", self.rank, 1)
        check_between("dropout", self.dropout, 0, 1)
        if self.alpha is not None and not self.alpha > 0:
            raise UserError(
                f"`alpha` (={self.alpha!r}) must be above 0; the usual is twice the rank."
            )
