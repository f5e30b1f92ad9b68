"""The folder of a run: its recipe, a folder per stage, the trained pair."""

import json
from pathlib import Path

from e2llm.errors import UserError
from e2llm.training.recipe import Recipe, Stage

RECIPE_FILE = "recipe.json"
PAIR_FOLDER = "pair"


def stage_folder(output: Path, number: int, stage: Stage) -> Path:
    """Return where the stage with this number, counted from 1, keeps its files."""
    return output / f"{number}-{stage.name.replace(' ', '-')}"


def check_output(output: Path, recipe: Recipe, resume: bool) -> None:
    """Raise `UserError` unless the run can begin in its folder, or go on there."""
    file = output / RECIPE_FILE
    if not file.exists():
        return
    if not resume:
        raise UserError(
            f"`output` (={output}) holds a run already; add --resume to go on with it, or "
            "name another folder."
        )
    try:
        old = json.loads(file.read_text(encoding="utf-8"))
        changed = recipe.difference(old)
    except (OSError, ValueError) as error:
        raise UserError(
            f"`output` (={output}): {RECIPE_FILE} is damaged ({error}); name another folder."
        ) from error
    if changed:
        raise UserError(
            f"`output` (={output}) holds a run of another recipe ({'; '.join(changed[:5])}); "
            "change it back, or name another folder."
        )


def begin_output(output: Path, recipe: Recipe) -> None:
    """Write the recipe into the run's folder, once all that it names has been found."""
    file = output / RECIPE_FILE
    if file.exists():  # the run goes on
        return
    try:
        output.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(".tmp")  # renamed, so that the file is whole or not there
        temporary.write_text(json.dumps(recipe.as_dict(), indent=1) + "\n", encoding="utf-8")
        temporary.rename(file)
    except OSError as error:
        raise UserError(
            f"`output` (={output}) cannot be written ({error.strerror}); name another folder."
        ) from error
