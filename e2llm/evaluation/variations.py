"""What an ablation varies: the values to try, and the recipe of each."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from e2llm.checks import check_count
from e2llm.errors import UserError
from e2llm.model import E2LLMConfig
from e2llm.pairs import find_pair
from e2llm.training.recipe import PARTS, Recipe, Stage

Change = Callable[[Recipe, Any], Recipe]


@dataclass(frozen=True)
class Ablation:
    """What is varied.

    Attributes:
        values: Tried unless others are asked for; none where only the user can name them.
        change: Makes a variant's recipe of the base recipe; None where nothing is to be trained.
        method: How the variant is read, as `evaluate` names methods; "{value}" stands for the
            value.
    """

    values: tuple[Any, ...]
    change: Change | None
    method: str = "e2llm:expand=0"


def in_pair(field: str) -> Change:
    """Return what sets a field of the pair that is trained."""
    return lambda recipe, value: replace(recipe, pair={**recipe.pair, field: value})


def weigh_understanding(recipe: Recipe, weight: float) -> Recipe:
    """Set the weight of the understanding task in every stage that has it."""
    if not any("understanding" in stage.tasks for stage in recipe.stages):
        raise UserError(
            "`recipe` has no stage with the task understanding, whose weight is varied; add "
            "it to `tasks`."
        )

    def change(stage: Stage) -> Stage:
        tasks = {
            name: replace(task, weight=float(weight)) if name == "understanding" else task
            for name, task in stage.tasks.items()
        }
        return replace(stage, tasks=tasks)

    return replace(recipe, stages=tuple(map(change, recipe.stages)))


def train_lora(recipe: Recipe, parts: str) -> Recipe:
    """Train the LoRA of "both" encoder and decoder, of one, or of "none", beside the adapter.

    A stage that is left with nothing falls away.
    """
    # The adapter is always trained: without it there are no soft tokens.
    kept = {"both": PARTS, "none": ("adapter",)}.get(parts, ("adapter", parts))
    if not set(kept) <= set(PARTS):
        raise UserError(f"`values` (={parts!r}) must be both, encoder, decoder or none.")
    rates = [
        {part: rate for part, rate in stage.learning_rates.items() if part in kept}
        for stage in recipe.stages
    ]
    return replace(
        recipe,
        stages=tuple(
            replace(stage, learning_rates=own)
            for stage, own in zip(recipe.stages, rates, strict=True)
            if own
        ),
    )


def at_ratio(recipe: Recipe, ratio: float | str) -> Recipe:
    """Train and read at one ratio.

    A stage of alignment alone keeps its own, which is one soft token per text token.
    """
    stages = tuple(
        stage if set(stage.tasks) == {"alignment"} else replace(stage, ratios=(ratio,))
        for stage in recipe.stages
    )
    return in_pair("ratio")(replace(recipe, stages=stages), ratio)


def in_chunks(recipe: Recipe, chunk_chars: int) -> Recipe:
    """Cut chunks of another size, and take as many of them per sample as hold the same text."""
    # A recipe that goes on from a pair has that pair's chunks where it names none.
    own = (
        E2LLMConfig.from_pretrained(find_pair(recipe.pair["model"]))
        if "model" in recipe.pair
        else E2LLMConfig
    )
    before = check_count(
        "chunk_chars", recipe.pair.get("chunk_chars", own.chunk_chars), 1, "character"
    )
    # Chunks twice as long are taken half as many at a time, so that samples hold as much text.
    factor = before / check_count("values", chunk_chars, 1, "character")

    def scaled(chunks: tuple[int, int]) -> tuple[int, int]:
        return max(1, round(chunks[0] * factor)), max(1, round(chunks[1] * factor))

    def change(stage: Stage) -> Stage:
        tasks = {
            name: replace(task, chunks=task.chunks and scaled(task.chunks))
            for name, task in stage.tasks.items()
        }
        return replace(stage, chunks=scaled(stage.chunks), tasks=tasks)

    return in_pair("chunk_chars")(
        replace(recipe, stages=tuple(map(change, recipe.stages))), chunk_chars
    )


ABLATIONS: dict[str, Ablation] = {
    # The paper's figure has 1e-9 to 1e-7 for sums over windows; with token means the same balance
    # is at 0.1 to 1 (0 is reasoning alone).
    "understanding-weight": Ablation((0, 0.001, 0.01, 0.1, 1, 10), weigh_understanding),
    "lora": Ablation(("both", "encoder", "decoder", "none"), train_lora),
    "adapter": Ablation(("linear", "mlp", "vpma", "residual"), in_pair("adapter")),
    "pooling": Ablation(("mean", "cls", "attention", "tokens"), in_pair("pooling")),
    "ratio": Ablation((2, 4, 8, 16, 32, 64, "chunk"), at_ratio),
    # Those of the paper's reconstruction table.
    "chunk-chars": Ablation((128, 512, 1024, 2048), in_chunks),
    "overlap-chars": Ablation((0, 32, 64, 128), in_pair("overlap_chars")),
    "window": Ablation((1, 2, 4, 8), in_pair("window_chunks")),
    "encoder": Ablation((), in_pair("encoder")),
    "decoder": Ablation((), in_pair("decoder")),
    "expand": Ablation((0, 1, 2, 4, 8, 16), None, "e2llm:expand={value}"),
    "chunking": Ablation(("fixed", "semantic"), None, "e2llm:expand=0:chunking={value}"),
}
