"""Records, and the samples that tasks make of them."""

import numpy as np

from e2llm.training.data.records import QuestionRecord, TextRecord
from e2llm.training.tasks import TASKS, Draw
from e2llm.training.tasks.base import Others
from tests.training.writing import prose

TEXT = TextRecord("t", prose(1, 20), "town")
QUESTION = QuestionRecord(
    "q",
    f"{prose(2, 5)} Ann keeps the river. {prose(3, 5)}",
    "Who keeps the river?",
    ("Ann", "It is Ann"),
    "hall",
)
# Sentences that say what something is, does or means.
DEFINED = TextRecord(
    "d",
    f"{prose(3, 4)} The lock is a chamber in which boats rise and sink.\n{prose(4, 4)} "
    f"The sluice lets water pass. The warden controls the sluice from the old tower by night. "
    f"{prose(5, 4)} If the water rises too high, the warden opens the second sluice at once. "
    f"{prose(6, 4)} Boats are stopped when the bridge is under repair for the winter.",
    "canal",
)


def record_of(task):
    """A record that a task makes a sample of."""
    if task == "definitions":
        return DEFINED
    return TEXT if TASKS[task].kind == "text" else QUESTION


class NoOthers(Others):
    def next(self):
        raise AssertionError("no other record is asked for")

    def about(self):
        return []


class OneOther(Others):
    def next(self):
        return QuestionRecord("o", prose(9, 4), "?", ("!",), "hall")

    def about(self):
        return [
            QuestionRecord("p", QUESTION.context, "What does Ann keep?", ("the river",), "hall")
        ]


def make(task, record, pair, seed=0, others=None, ratio=4, n_chunks=3, **bounds):
    draw = Draw(pair.processor, np.random.default_rng(seed), ratio, n_chunks, **bounds)
    return TASKS[task].make(record, draw, others or NoOthers())


def text_of(pair, ids):
    return pair.processor.tokenizer.decode([i for i in ids if i != pair.processor.placeholder_id])


def n_soft(pair, sample):
    return sample.prompt_ids.count(pair.processor.placeholder_id)


def fed(sample):
    rows = [ids[ids >= 0] for ids in sample.soft_ids] or [[]]
    return np.unique(np.concatenate(rows)).tolist()
