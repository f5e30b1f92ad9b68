"""The records of a task: its sources drawn from by their weights."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from e2llm.checks import name_some
from e2llm.errors import UserError
from e2llm.training.data.records import Record
from e2llm.training.data.sources import Source
from e2llm.training.deal import deal, ordinals
from e2llm.training.recipe import Stage
from e2llm.training.tasks import TASKS
from e2llm.training.tasks.base import Others

# How far on either side the records are that stand near one: SQuAD's of an article follow each
# other, five a paragraph.
NEAR = 40


class WeightedSources:
    """The sources of a task, drawn from by their weights.

    Each gives its records in an order of its own, all before any again.
    """

    def __init__(self, sources: list[Source], seed: int) -> None:
        self.sources, self.seed = sources, seed
        self.weights = np.array([source.weight for source in sources], float)
        # Of every place dealt so far, (n_dealt,): its source, and its number among that source's.
        self._dealt = np.zeros(0, np.int64)
        self._numbers = np.zeros(0, np.int64)

    def record(self, ordinal: int) -> tuple[Source, int]:
        """Return the source, and which of its records, that a sample is made from by its number."""
        if ordinal >= len(self._dealt):  # a longer deal begins as a shorter one does
            # Twice as long each time, so that all deals together cost about two of the last.
            self._dealt = deal(self.weights, max(4096, 2 * ordinal))
            self._numbers = ordinals(self._dealt)
        which = int(self._dealt[ordinal])
        source, number = self.sources[which], int(self._numbers[ordinal])
        epoch, place = divmod(number, len(source))
        return source, int(self._order(which, epoch)[place])

    @lru_cache(maxsize=64)  # noqa: B019 - lives as long as the stage
    def _order(self, which: int, epoch: int) -> np.ndarray:
        return self.sources[which].permutation(self.seed + which, epoch)


class SameSource(Others):
    """The other records of the source that a record is from."""

    def __init__(self, source: Source, index: int, rng: np.random.Generator) -> None:
        self.source, self.index, self.rng = source, index, rng

    def next(self) -> Record:
        return self.source[int(self.rng.integers(len(self.source)))]

    def near(self) -> Record:
        place = self.index + int(self.rng.integers(-NEAR, NEAR + 1))
        return self.source[min(max(place, 0), len(self.source) - 1)]

    def about(self) -> list[Record]:
        return [
            self.source[index] for index in self.source.about(self.index) if index != self.index
        ]


def sources_of(name: str, stage: Stage, sources: Sequence[Source], seed: int) -> WeightedSources:
    """Return the sources of a task: those that the stage names, or all of the kind that it reads.

    Raises:
        UserError: A source that the stage names is not there, or none has records for the task.
    """
    task, wanted = TASKS[name], stage.tasks[name].sources
    if wanted is not None and (unknown := set(wanted) - {source.name for source in sources}):
        raise UserError(
            f"`tasks.{name}.sources` names {sorted(unknown)[0]!r}, and the sources are "
            f"{name_some((source.name for source in sources), 'the recipe has them')}."
        )
    usable = [
        source
        for source in sources
        if source.weight > 0 and (wanted is None or source.name in wanted)
    ]
    own = [source for source in usable if source.kind == task.kind]
    if task.kind == "text" and (wanted is not None or not own):
        own = usable  # the documents of question records are texts too
    if not own:
        raise UserError(
            f"`tasks.{name}` of stage {stage.name!r} reads {task.kind} records, and no source "
            "has any; add one to `sources`."
        )
    return WeightedSources(own, seed)
