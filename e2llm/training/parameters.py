"""The parameters that a stage trains, and the part that each belongs to."""

from torch import nn

from e2llm.errors import UserError
from e2llm.training.recipe import PARTS, Recipe, Stage


def part_of(name: str) -> str:
    """Return the part that a parameter belongs to, by its name."""
    names = name.split(".")
    return next((part for part in names if part in PARTS), "adapter")


def choose_trained(objective: nn.Module, recipe: Recipe, stage: Stage) -> list[str]:
    """Let gradients reach what the stage trains, and nothing else; return its parameters' names.

    Raises:
        UserError: There is nothing to train in a part that the stage names.
    """
    settings = {"encoder": recipe.encoder, "decoder": recipe.decoder}
    full = {part for part, own in settings.items() if own.mode == "full"}
    chosen = []
    for name, parameter in objective.named_parameters():
        part = part_of(name)
        wanted = (
            part in stage.learning_rates
            and ".original_module." not in name  # PEFT's copy of the adapter as it was
            and (part == "adapter" or part in full or "lora_" in name)
        )
        # Weights in four bits are whole numbers, which have no gradient.
        parameter.requires_grad_(wanted and parameter.is_floating_point())
        if wanted:
            chosen.append(name)
    if nothing := set(stage.learning_rates) - {part_of(name) for name in chosen}:
        raise UserError(
            f"`learning_rates.{min(nothing)}` of stage {stage.name!r} trains nothing of this "
            "pair: it has no LoRA there."
        )
    return chosen
