"""One stage of a recipe: what it trains, on which tasks, for how long."""

import re
from dataclasses import dataclass

from e2llm.checks import check_choice, check_ratio, name_some
from e2llm.errors import UserError
from e2llm.training.recipe.parts import PARTS
from e2llm.training.recipe.rules import check_between, check_chunks, check_least


@dataclass(frozen=True)
class TaskSettings:
    """How much of a stage one task is.

    Attributes:
        share: Share of the batches, against the other tasks' shares.
        weight: Weight of its loss (the paper's understanding weight).
        sources: Names of the sources that it draws from; None for all of the kind that it reads.
        chunks, batch_size: In place of the stage's.
    """

    share: float = 1.0
    weight: float = 1.0
    sources: tuple[str, ...] | None = None
    chunks: tuple[int, int] | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        check_least("share", self.share, 0)
        check_least("weight", self.weight, 0)
        check_chunks(self.chunks or (1, 1))
        check_least("batch_size", self.batch_size or 1, 1)


@dataclass(frozen=True)
class Stage:
    """One stage: what it trains, at which learning rates, on which tasks, for how long.

    Attributes:
        name: What its folder and its curves are called.
        steps: Optimizer steps.
        learning_rates: Per part that it trains ("adapter", "encoder", "decoder") the peak learning
            rate.
        tasks: Per task its settings.
        ratios: Text tokens per soft token, one drawn per batch (elastic k); "chunk" for one per
            chunk. A ratio named twice is drawn twice as often.
        chunks: Fewest and most chunks of a document; the most grows from the fewest over the first
            `chunks_growth` of the stage. How many is drawn for the samples of a batch together;
            where a source has no document so long, what there is.
        chunks_growth: Part of the stage over which it grows; 0 for no curriculum.
        batch_size: Samples per batch, on average; a batch is one task at one ratio.
        batch_positions: In place of it, positions of the decoder per batch, about; a token that the
            encoder reads counts as an eighth.
        accumulation: Batches per optimizer step and process.
        max_answer_tokens: Longest answer; a longer one is cut. Of a conversation, all that follows
            the first prompt.
        max_positions: Longest prompt; a document that needs more is compressed at a higher ratio.
        warmup: Part of the stage over which the learning rates rise.
        schedule: How they fall after it: "cosine", "linear" or "constant".
        evaluate_every: Steps between validations and checkpoints.
        patience: Validations without a better one before the stage ends; None for no early stop.
    """

    name: str
    steps: int
    learning_rates: dict[str, float]
    tasks: dict[str, TaskSettings]
    ratios: tuple[float | str, ...] = (8,)
    chunks: tuple[int, int] = (1, 1)
    chunks_growth: float = 0.5
    batch_size: int = 8
    batch_positions: int | None = None
    accumulation: int = 1
    max_answer_tokens: int = 512
    max_positions: int = 2048
    warmup: float = 0.05
    schedule: str = "cosine"
    evaluate_every: int = 100
    patience: int | None = None

    def __post_init__(self) -> None:
        from e2llm.training.tasks import TASKS  # and with it torch, only now

        if not re.fullmatch(r"[\w -]+", self.name):
            raise UserError(
                f"`stages.name` (={self.name!r}) must be letters, digits, spaces and hyphens: "
                "it names a folder."
            )
        for name, rate in self.learning_rates.items():
            check_choice("learning_rates", name, PARTS)
            if not 0 < rate < float("inf"):
                raise UserError(
                    f"`learning_rates.{name}` (={rate!r}) must be above 0; leave out the "
                    f"parts that stage {self.name!r} does not train."
                )
        if not self.learning_rates:
            raise UserError(
                f"`learning_rates` of stage {self.name!r} must name what it trains: "
                f"{', '.join(PARTS)}."
            )
        for name in self.tasks:
            check_choice("tasks", name, list(TASKS), "docs/guides/train.md has all")
        if sum(task.share for task in self.tasks.values()) <= 0:
            raise UserError(
                f"`tasks` of stage {self.name!r} must hold at least one task with a share "
                f"above 0 ({name_some(TASKS, 'docs/guides/train.md has all')})."
            )
        if not self.ratios:
            raise UserError(
                f"`ratios` of stage {self.name!r} must hold at least one ratio, such as [4, 8, 16]."
            )
        for ratio in self.ratios:
            check_ratio(ratio)
        for name in (
            "steps",
            "batch_size",
            "accumulation",
            "max_answer_tokens",
            "max_positions",
            "evaluate_every",
        ):
            check_least(name, getattr(self, name), 1)
        for name in ("warmup", "chunks_growth"):
            check_between(name, getattr(self, name), 0, 1)
        for name in ("patience", "batch_positions"):
            if (value := getattr(self, name)) is not None:
                check_least(name, value, 1)
        check_chunks(self.chunks)
        check_choice("schedule", self.schedule, ["cosine", "linear", "constant"])
