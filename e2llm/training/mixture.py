"""The batches of a stage: which task, source, record and ratio each has.

All is a function of the seed and the batch's index. A batch is one task at one ratio. Batches are
planned a pool at a time: the samples of a pool that share task and ratio are sorted by length and
cut into batches of about equal work, so that little of a batch is padding. Since batch i does not
depend on what was dealt before, training goes on at the exact sample after an interruption, with
any number of processes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from torch.utils.data import Dataset

from e2llm.errors import UserError
from e2llm.model.processing import E2LLMProcessor
from e2llm.training.data.sources import Source
from e2llm.training.deal import deal, deal_pools, ordinals, stage_seed
from e2llm.training.recipe import Stage
from e2llm.training.tasks import TASKS, Draw, Sample
from e2llm.training.weighted_sources import SameSource, sources_of

# Most batches of a pool, and about how many samples it has at most.
POOL_BATCHES, POOL_SAMPLES = 128, 1024
# How many of a task's batches have the same ratio where batches are large and a pool therefore has
# few: else there would be nothing to sort.
RATIO_RUN = 4
# Samples that tell how long those of a task are, and what a token that the encoder reads costs
# against a position of the decoder.
PROBES, ENCODER_COST = 4, 1 / 8
# Records of which a task makes nothing (too short, blank) are passed over, this many in a row;
# after so many, documents have half of the chunks.
_TRIES, _TRIES_AT_LENGTH = 100, 10


@dataclass(frozen=True)
class Batch:
    """Samples of one task at one ratio."""

    task: str
    ratio: float | str
    samples: list[Sample]


class Mixture(Dataset[Batch]):
    """The batches of a stage by index.

    Args:
        stage: Which tasks, ratios and lengths.
        sources: Where records come from.
        processor: The pair's.
        n_batches: How many batches there are.
        seed: Of every draw.
        curriculum: Whether the number of chunks grows; validation draws from the whole range at
            once.
        n_readers: How many loader processes take turns at reading the batches: each then makes
            pools of its own.
    """

    def __init__(
        self,
        stage: Stage,
        sources: Sequence[Source],
        processor: E2LLMProcessor,
        n_batches: int,
        seed: int,
        curriculum: bool = True,
        n_readers: int = 1,
    ) -> None:
        self.stage, self.processor, self.seed = stage, processor, seed
        self.n_batches, self.curriculum = n_batches, curriculum
        self.tasks = [name for name, settings in stage.tasks.items() if settings.share > 0]
        self.sources = {
            name: sources_of(name, stage, sources, stage_seed(str(seed), name))
            for name in self.tasks
        }
        # Of every batch, (n_batches,): its task, its number among the task's batches, its most
        # chunks, its number of samples, and the number of the first of them among the task's.
        self._task_of = deal(np.array([stage.tasks[name].share for name in self.tasks]), n_batches)
        self._ordinals = ordinals(self._task_of)
        self._chunks = np.array([self._draw_chunks(place) for place in range(n_batches)], int)
        self._sizes = self._batch_sizes()
        self._starts = np.zeros(n_batches, int)
        # A task's samples are numbered through all its batches, in their order.
        for task in range(len(self.tasks)):
            own = self._task_of == task
            self._starts[own] = np.cumsum(self._sizes[own]) - self._sizes[own]
        # The larger the batches, the fewer make a pool, whose samples are in memory all at once.
        mean_size = max(1.0, self._sizes.mean() if n_batches else 1.0)
        pool_batches = int(np.clip(POOL_SAMPLES // mean_size, 1, POOL_BATCHES))
        self._pools, self._places = deal_pools(n_batches, pool_batches, n_readers)
        # Batches are read pool after pool, so that few pools need be kept.
        self._pool = lru_cache(maxsize=2)(self._make_pool)

    def __len__(self) -> int:
        return self.n_batches

    def __getitem__(self, index: int) -> Batch:
        pool, place = self._places[index]
        return self._pool(int(pool))[int(place)]

    def __getitems__(self, indices: list[int]) -> list[Batch]:
        """Return several batches, as the loader asks for them."""
        return [self[index] for index in indices]

    def _make_pool(self, pool: int) -> list[Batch]:
        """Make the batches of a pool, in an order drawn by chance."""
        rng = np.random.default_rng([self.seed, pool])
        # The last pool ends where the batches end: a few batches, such as those of a validation,
        # have every task and ratio too.
        groups: dict[tuple[int, int], list[int]] = {}
        for place in range(*self._pools[pool]):
            groups.setdefault((int(self._task_of[place]), self._ratio(place)), []).append(place)
        batches = []
        for (task, ratio), own in groups.items():
            name, drawn = self.tasks[task], self.stage.ratios[ratio]
            samples = [
                self._sample(name, int(self._starts[place]) + item, drawn, int(self._chunks[place]))
                for place in own
                for item in range(int(self._sizes[place]))
            ]
            # A group's samples are dealt anew to its batches, so that lengths are alike in each.
            batches += [Batch(name, drawn, part) for part in cut_by_length(samples, len(own))]
        return [batches[int(index)] for index in rng.permutation(len(batches))]

    def _batch_sizes(self) -> np.ndarray:
        """Return how many samples each batch has, (n_batches,).

        They are as many as the stage says, or as have the positions that it says.
        """
        sizes = [
            self.stage.tasks[self.tasks[task]].batch_size or self.stage.batch_size
            for task in self._task_of
        ]
        if self.stage.batch_positions is not None:
            # Measured at the fewest and the most chunks of a task, and taken as linear between.
            cost = cache(self._cost)
            for place, task in enumerate(self._task_of):
                name, ratio = self.tasks[task], self._ratio(place)
                fewest, most = self._bounds(name)
                low, high = (cost(name, ratio, n_chunks) for n_chunks in (fewest, most))
                n_more = int(self._chunks[place]) - fewest
                own = low + (high - low) * n_more / max(1, most - fewest)
                sizes[place] = max(1, round(self.stage.batch_positions / own))
        return np.array(sizes, int)

    def _cost(self, name: str, ratio: int, n_chunks: int) -> float:
        """Return about how many positions a sample takes; an encoder token is a part of one."""
        drawn = self.stage.ratios[ratio]
        samples = [self._sample(name, item, drawn, n_chunks) for item in range(PROBES)]
        costs = (sample.n_positions + ENCODER_COST * sample.n_encoded for sample in samples)
        return sum(costs) / PROBES

    def _draw_chunks(self, place: int) -> int:
        """Draw how many chunks the documents of a batch have at most."""
        task, ordinal = int(self._task_of[place]), int(self._ordinals[place])
        name = self.tasks[task]
        # The 2 keeps these draws apart from those of ratios (1) and of samples (no number).
        rng = np.random.default_rng([self.seed, task, ordinal, 2])
        return int(rng.integers(self._bounds(name)[0], self.n_chunks(name, place) + 1))

    def _ratio(self, place: int) -> int:
        """Draw the ratio of a batch: each is drawn once for a task before any is drawn again."""
        run = 1 if self.stage.batch_positions is None else RATIO_RUN
        n_ratios, task = len(self.stage.ratios), int(self._task_of[place])
        # In a turn every ratio comes once, in an order of its own, and lasts for `run` batches.
        turn, number = divmod(int(self._ordinals[place]) // run, n_ratios)
        return int(np.random.default_rng([self.seed, task, turn, 1]).permutation(n_ratios)[number])

    def _sample(self, name: str, ordinal: int, ratio: float | str, n_chunks: int) -> Sample:
        """Make the sample with this number among all the samples of a task."""
        task, rng = TASKS[name], np.random.default_rng([self.seed, self.tasks.index(name), ordinal])
        source, index = self.sources[name].record(ordinal)
        for attempt in range(_TRIES):
            # What is too long for a task (a teacher's prompt) fits when it is shorter.
            own = max(1, n_chunks >> attempt // _TRIES_AT_LENGTH)
            bounds = (self.stage.max_answer_tokens, self.stage.max_positions)
            draw = Draw(self.processor, rng, ratio, own, *bounds)
            sample = task.make(source[index], draw, SameSource(source, index, rng))
            if sample is not None:
                return sample
            index = int(rng.integers(len(source)))
        raise UserError(
            f"`sources`: {_TRIES} records of {source.name!r} in a row give no sample for the "
            f"task {name!r}; run `e2llm data check` on it."
        )

    def _bounds(self, task: str) -> tuple[int, int]:
        """Return the fewest and the most chunks of a task's documents in this stage."""
        return self.stage.tasks[task].chunks or self.stage.chunks

    def n_chunks(self, task: str, place: int) -> int:
        """Return the most chunks that a sample of the batch at `place` has: the curriculum."""
        fewest, most = self._bounds(task)
        if not self.curriculum or not self.stage.chunks_growth:
            return most
        # It grows over the first part of the stage, of which `chunks_growth` is the share.
        progress = min(1.0, place / max(1.0, self.stage.chunks_growth * self.n_batches))
        return fewest + round((most - fewest) * progress)


def cut_by_length(samples: list[Sample], n_batches: int) -> list[list[Sample]]:
    """Sort samples by length and cut them into batches of about equal work, none of them empty."""
    ordered = sorted(samples, key=lambda sample: -sample.n_positions)
    done = np.cumsum([sample.n_positions for sample in ordered])  # (n_samples,)
    cuts, last = [], 0
    for batch in range(1, n_batches):
        wanted = int(np.searchsorted(done, done[-1] * batch / n_batches))
        # At least one sample for this batch, and one for each that is still to come.
        last = min(max(wanted, last + 1), len(ordered) - (n_batches - batch))
        cuts.append(last)
    return [
        ordered[start:end] for start, end in zip([0, *cuts], [*cuts, len(ordered)], strict=True)
    ]
