"""A training run as data: what is trained, on what, in which stages.

Read from YAML, checked when it is built, kept beside the results.
"""

from e2llm.training.recipe.fields import build
from e2llm.training.recipe.parts import PARTS, RANK, PartSettings
from e2llm.training.recipe.recipe import Recipe
from e2llm.training.recipe.stage import Stage, TaskSettings

__all__ = ["PARTS", "RANK", "PartSettings", "Recipe", "Stage", "TaskSettings", "build"]
