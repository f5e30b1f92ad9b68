"""Deal records out to batches: which task, which source, which record, which ratio.

Everything is a function of the seed and the batch's index.

A batch is one task at one ratio. Batches are planned a pool at a time: the samples of a pool that
share task and ratio are sorted by length and cut into batches of about equal work, so that little
of a batch is padding. Since batch i does not depend on what was dealt before, training goes on at
the exact sample after an interruption, with any number of processes.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from torch.utils.data import Dataset

from e2llm.errors import UserError
from e2llm.model.processing import E2LLMProcessor
from e2llm.training.data.records import Record
from e2llm.training.data.sources import Source
from e2llm.training.recipe import Stage
from e2llm.training.tasks import TASKS, Draw, Sample
from e2llm.training.tasks.base import Others

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
        self.stage, self.processor, self.n_batches, self.seed, self.curriculum = (
            stage,
            processor,
            n_batches,
            seed,
            curriculum,
        )
        self.tasks = [name for name, settings in stage.tasks.items() if settings.share > 0]
        self.sources = {
            name: _sources_of(name, stage, sources, stage_seed(str(seed), name))
            for name in self.tasks
        }
        shares = np.array([stage.tasks[name].share for name in self.tasks])
        self._task_of = _deal(shares, n_batches)
        self._ordinals = _ordinals(self._task_of)
        self._chunks = np.array([self._draw_chunks(place) for place in range(n_batches)], int)
        self._sizes = self._batch_sizes()
        self._starts = np.zeros(n_batches, int)
        for task in range(len(self.tasks)):
            own = self._task_of == task
            self._starts[own] = np.cumsum(self._sizes[own]) - self._sizes[own]
        pool_batches = int(
            np.clip(
                POOL_SAMPLES // max(1.0, self._sizes.mean() if n_batches else 1.0), 1, POOL_BATCHES
            )
        )
        self._pools, self._places = deal_pools(n_batches, pool_batches, n_readers)
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
            batches += [Batch(name, drawn, part) for part in cut_by_length(samples, len(own))]
        return [batches[int(index)] for index in rng.permutation(len(batches))]

    def _batch_sizes(self) -> np.ndarray:
        """Return the samples of every batch: as many as the stage says, or as many as have the
        positions that it says.
        """
        sizes = np.array(
            [
                self.stage.tasks[self.tasks[task]].batch_size or self.stage.batch_size
                for task in self._task_of
            ],
            int,
        )
        if self.stage.batch_positions is None:
            return sizes
        costs: dict[tuple[int, int, int], float] = {}
        for place, task in enumerate(self._task_of):
            name, ratio = self.tasks[task], self._ratio(place)
            fewest, most = self._bounds(name)
            for n_chunks in {fewest, most}:
                if (key := (int(task), ratio, n_chunks)) not in costs:
                    samples = [
                        self._sample(name, item, self.stage.ratios[ratio], n_chunks)
                        for item in range(PROBES)
                    ]
                    costs[key] = (
                        sum(
                            sample.n_positions + ENCODER_COST * sample.n_encoded
                            for sample in samples
                        )
                        / PROBES
                    )
            low, high = costs[int(task), ratio, fewest], costs[int(task), ratio, most]
            cost = low + (high - low) * (int(self._chunks[place]) - fewest) / max(1, most - fewest)
            sizes[place] = max(1, round(self.stage.batch_positions / cost))
        return sizes

    def _draw_chunks(self, place: int) -> int:
        """Draw how many chunks the documents of a batch have at most."""
        name, ordinal = self.tasks[self._task_of[place]], int(self._ordinals[place])
        fewest, most = self._bounds(name)[0], self.n_chunks(name, place)
        return int(
            np.random.default_rng([self.seed, int(self._task_of[place]), ordinal, 2]).integers(
                fewest, most + 1
            )
        )

    def _ratio(self, place: int) -> int:
        """Draw the ratio of a batch: each is drawn once for a task before any is drawn again."""
        run = 1 if self.stage.batch_positions is None else RATIO_RUN
        task, (turn, number) = (
            int(self._task_of[place]),
            divmod(int(self._ordinals[place]) // run, len(self.stage.ratios)),
        )
        return int(
            np.random.default_rng([self.seed, task, turn, 1]).permutation(len(self.stage.ratios))[
                number
            ]
        )

    def _sample(self, name: str, ordinal: int, ratio: float | str, n_chunks: int) -> Sample:
        """Make the sample with this number among all the samples of a task."""
        task, rng = TASKS[name], np.random.default_rng([self.seed, self.tasks.index(name), ordinal])
        source, index = self.sources[name].record(ordinal)
        for attempt in range(_TRIES):
            # What is too long for a task (a teacher's prompt) fits when it is shorter.
            own = max(1, n_chunks >> attempt // _TRIES_AT_LENGTH)
            draw = Draw(
                self.processor,
                rng,
                ratio,
                own,
                self.stage.max_answer_tokens,
                self.stage.max_positions,
            )
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
        progress = min(1.0, place / max(1.0, self.stage.chunks_growth * self.n_batches))
        return fewest + round((most - fewest) * progress)


class WeightedSources:
    """The sources of a task, drawn from by their weights; each gives its records in an order of its
    own, all before any again.
    """

    def __init__(self, sources: list[Source], seed: int) -> None:
        self.sources, self.seed = sources, seed
        self.weights = np.array([source.weight for source in sources], float)
        self._dealt = np.zeros(0, np.int64)
        self._numbers = np.zeros(0, np.int64)

    def record(self, ordinal: int) -> tuple[Source, int]:
        """Return which source, and which of its records, the sample with this number is made from."""
        if ordinal >= len(self._dealt):
            self._dealt = _deal(self.weights, max(4096, 2 * ordinal))
            self._numbers = _ordinals(self._dealt)
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

    def about(self) -> list[Record]:
        return [
            self.source[index] for index in self.source.about(self.index) if index != self.index
        ]


def deal_pools(
    n_batches: int, pool_batches: int, n_readers: int = 1
) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Cut batches into pools, and say which pool a batch is read from.

    Readers take turns at the batches, so that reader r reads every batch i with i % n_readers == r;
    those are of the same pools, which no other reader then makes.

    Returns:
        The first batch of every pool and the one after its last, and (n_batches, 2) of every batch
        its pool and its place there.
    """
    pools: list[tuple[int, int]] = []
    places = np.zeros((n_batches, 2), int)
    start = 0
    while start < n_batches:
        n_block = min(pool_batches * n_readers, n_batches - start)
        for reader in range(min(n_readers, n_block)):
            own = np.arange(start + reader, start + n_block, n_readers)
            first = pools[-1][1] if pools else 0
            places[own] = np.stack([np.full(len(own), len(pools)), np.arange(len(own))], 1)
            pools.append((first, first + len(own)))
        start += n_block
    return pools, places


def cut_by_length(samples: list[Sample], n_batches: int) -> list[list[Sample]]:
    """Sort samples by length and cut them into `n_batches` batches of about equal work, none empty."""
    ordered = sorted(samples, key=lambda sample: -sample.n_positions)
    done = np.cumsum([sample.n_positions for sample in ordered])
    cuts, last = [], 0
    for batch in range(1, n_batches):
        wanted = int(np.searchsorted(done, done[-1] * batch / n_batches))
        last = min(max(wanted, last + 1), len(ordered) - (n_batches - batch))
        cuts.append(last)
    return [
        ordered[start:end] for start, end in zip([0, *cuts], [*cuts, len(ordered)], strict=True)
    ]


def _sources_of(name: str, stage: Stage, sources: Sequence[Source], seed: int) -> WeightedSources:
    task, wanted = TASKS[name], stage.tasks[name].sources
    if wanted is not None and (unknown := set(wanted) - {source.name for source in sources}):
        raise UserError(
            f"`tasks.{name}.sources` names {sorted(unknown)[0]!r}, and the sources are "
            f"{', '.join(source.name for source in sources)}."
        )
    usable = [
        source
        for source in sources
        if source.weight > 0 and (source.name in wanted if wanted is not None else True)
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


def stage_seed(*names: str) -> int:
    """Return a number that depends on all of the names, and on nothing else."""
    return int.from_bytes(hashlib.sha256("/".join(names).encode()).digest()[:4], "big") % 2**31


def _deal(weights: np.ndarray, n: int) -> np.ndarray:
    """Deal `n` places out by weight, evenly: in any stretch each gets its share to within a few.

    A longer deal begins as a shorter one does.
    """
    shares = weights / weights.sum()
    counts = np.ceil(n * shares).astype(int) + len(shares)
    # The j-th place of one with share p is due at (j + 1/2) / p.
    due = np.concatenate(
        [(np.arange(count) + 0.5) / share for count, share in zip(counts, shares, strict=True)]
    )
    return np.repeat(np.arange(len(shares)), counts)[np.argsort(due, kind="stable")][:n]


def _ordinals(dealt: np.ndarray) -> np.ndarray:
    """Return, for each place, how many places before it went to the same one."""
    result = np.empty(len(dealt), np.int64)
    for which in np.unique(dealt):
        own = dealt == which
        result[own] = np.arange(own.sum())
    return result
