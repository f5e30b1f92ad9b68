"""The training tasks by name; adding one is a file here and a line below."""

from e2llm.training.tasks.alignment import Alignment
from e2llm.training.tasks.base import Draw, Sample, Task
from e2llm.training.tasks.continuation import Continuation
from e2llm.training.tasks.definitions import Definitions
from e2llm.training.tasks.dialogue import Dialogue
from e2llm.training.tasks.distillation import (
    ContinuationDistillation,
    Distillation,
    SelfDistillation,
)
from e2llm.training.tasks.lookup import Lookup
from e2llm.training.tasks.loss import Loss
from e2llm.training.tasks.passages import Passages
from e2llm.training.tasks.reasoning import Expanding, Reasoning
from e2llm.training.tasks.recall import Recall
from e2llm.training.tasks.understanding import Understanding

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        *(Alignment(), Understanding(), Reasoning(), Expanding(), Dialogue(), Recall(), Lookup()),
        *(Passages(), Definitions()),
        *(Continuation(), Distillation(), SelfDistillation(), ContinuationDistillation()),
    )
}

__all__ = ["TASKS", "Draw", "Loss", "Sample", "Task"]
