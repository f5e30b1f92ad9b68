"""How a rival is fitted: steps, rates, lengths, what is validated and when."""

from dataclasses import dataclass

from e2llm.checks import check_count
from e2llm.errors import UserError


@dataclass(frozen=True)
class FitSettings:
    """How a method is fitted.

    Attributes:
        steps: Optimizer steps.
        learning_rate: Its peak; it rises over `warmup` of the steps and falls as a cosine.
        batch_size: Samples per step and process; the loss is the mean over the tokens of all.
        chunks: Most chunks of the document of a question, which is cut around its answer or stands
            among others as in `e2llm train`.
        document_tokens: Longest document; what is longer (the whole context of a summary) is cut at
            its end. Texts are joined to this length.
        warmup: Part of the steps.
        max_grad_norm: To which gradients are clipped.
        seed: Of the weights' beginning, and of every draw.
        save_every, log_every: Steps between checkpoints, each with a validation, and between lines
            of the log.
        validation_samples: Questions about documents set aside (5 % of every source); the weights
            kept are those whose checkpoint answers them best. 0 for no validation: the last weights
            are kept.
        gradient_checkpointing: Whether layers are computed again in the backward pass in place of
            being kept.
    """

    steps: int
    learning_rate: float = 4e-4
    batch_size: int = 8
    chunks: int = 16
    document_tokens: int = 4096
    warmup: float = 0.05
    max_grad_norm: float = 1.0
    seed: int = 0
    save_every: int = 100
    log_every: int = 10
    validation_samples: int = 32
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "chunks", "document_tokens", "save_every", "log_every"):
            check_count(name, getattr(self, name), 1)
        for name in ("seed", "validation_samples"):
            check_count(name, getattr(self, name), 0)
        if not 0 < self.learning_rate < float("inf"):
            raise UserError(
                f"`learning_rate` (={self.learning_rate!r}) must be above 0, such as 4e-4."
            )
        if not 0 <= self.warmup <= 1:
            raise UserError(f"`warmup` (={self.warmup!r}) must lie between 0 and 1.")
