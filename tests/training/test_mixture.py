"""Batches: what is dealt to them, in which order, and how little of them is padding."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest

from e2llm.errors import UserError
from e2llm.training.data.sources import Source, SourceSettings, open_source
from e2llm.training.mixture import POOL_BATCHES, Mixture, SameSource, cut_by_length, stage_seed
from e2llm.training.recipe import Stage, build
from e2llm.training.tasks import Sample
from tests.training import writing


@dataclass
class Counted(Source):
    """A source that says which of its records are read."""

    whole: Source
    name: str = ""
    weight: float = 1.0

    def __post_init__(self):
        self.name = self.name or self.whole.name
        self.read: list[int] = []

    @property
    def kind(self):
        return self.whole.kind

    def __len__(self):
        return len(self.whole)

    def _record(self, index):
        self.read.append(index)
        return self.whole[index]


@pytest.fixture
def make_mixture(pair, sources):
    def make(n_batches=20, seed=0, own=None, curriculum=True, **changes):
        return Mixture(build(Stage, writing.stage(**changes), "stage"), own or sources, pair.processor, n_batches, seed, curriculum)

    return make


def ids_of(batch):
    return batch.task, batch.ratio, [(sample.name, sample.prompt_ids, sample.answer_ids) for sample in batch.samples]


def all_of(mixture):
    return [ids_of(mixture[index]) for index in range(len(mixture))]


def test_a_batch_is_a_function_of_the_seed_and_its_index(make_mixture):
    n_batches = POOL_BATCHES + 20
    in_order = all_of(make_mixture(n_batches, batch_size=1))
    mixture = make_mixture(n_batches, batch_size=1)
    for index in (POOL_BATCHES + 3, 5, POOL_BATCHES - 1, POOL_BATCHES + 3, 0):
        assert ids_of(mixture[index]) == in_order[index]


def test_another_seed_or_another_stage_gives_other_batches(make_mixture):
    first = make_mixture(seed=stage_seed("0", "compress"))
    assert all_of(first) == all_of(make_mixture(seed=stage_seed("0", "compress")))
    assert all_of(first) != all_of(make_mixture(seed=stage_seed("1", "compress")))
    assert all_of(first) != all_of(make_mixture(seed=stage_seed("0", "recompress")))


def test_two_seeds_read_the_records_in_two_orders(make_mixture, sources):
    orders = []
    for seed in (0, 1):
        counted = Counted(sources[0])
        all_of(make_mixture(4, seed, [counted], tasks={"understanding": {}}))
        orders.append(counted.read)
    assert orders[0] != orders[1]


def test_every_pool_has_batches_of_every_task_by_their_shares(make_mixture):
    shares = {"understanding": 0.5, "reasoning": 0.3, "expanding": 0.2}
    mixture = make_mixture(POOL_BATCHES + 40, tasks={name: {"share": share} for name, share in shares.items()}, batch_size=1)
    for first, last in ((0, POOL_BATCHES), (POOL_BATCHES, POOL_BATCHES + 40)):
        counts = Counter(mixture[index].task for index in range(first, last))
        for name, share in shares.items():
            assert abs(counts[name] - share * (last - first)) <= 2, (name, counts)


def test_a_task_whose_share_is_zero_is_left_out(make_mixture):
    mixture = make_mixture(tasks={"understanding": {"share": 0}, "reasoning": {}})
    assert {batch[0] for batch in all_of(mixture)} == {"reasoning"}


@pytest.mark.parametrize("n_tasks", [1, 2, 3])
def test_a_few_batches_have_every_task_at_every_ratio(make_mixture, n_tasks):
    tasks, ratios = ["understanding", "reasoning", "continuation"][:n_tasks], [1, 2, 4, 8]
    mixture = make_mixture(len(tasks) * len(ratios), tasks={name: {} for name in tasks}, ratios=ratios, batch_size=1, curriculum=False)
    assert Counter(batch[:2] for batch in all_of(mixture)) == {(task, ratio): 1 for task in tasks for ratio in ratios}


def test_a_ratio_named_twice_is_drawn_twice_as_often(make_mixture):
    counts = Counter(batch[1] for batch in all_of(make_mixture(60, ratios=[2, 4, 4, "chunk"], tasks={"reasoning": {}}, batch_size=1)))
    assert (counts[2], counts[4], counts["chunk"]) == (15, 30, 15)


def test_sources_are_drawn_from_by_their_weights(make_mixture, sources):
    counted = [replace(Counted(sources[0]), name="light", weight=1.0), replace(Counted(sources[0]), name="heavy", weight=3.0)]
    all_of(make_mixture(100, own=counted, tasks={"understanding": {}}, batch_size=1))
    assert abs(len(counted[1].read) - 75) <= 2
    assert abs(len(counted[0].read) - 25) <= 2


def test_every_record_of_a_source_is_read_once_before_any_is_read_again(make_mixture, sources):
    counted = Counted(sources[0])
    n_epochs = 3
    all_of(make_mixture(n_epochs * len(counted) // 2, own=[counted], tasks={"understanding": {}}, batch_size=2))
    assert set(Counter(counted.read).values()) == {n_epochs}


def test_records_are_read_in_epochs_each_in_an_order_of_its_own(make_mixture, sources):
    mixture = make_mixture(own=[sources[0]], tasks={"understanding": {}})
    dealt = [mixture.sources["understanding"].record(ordinal)[1] for ordinal in range(2 * len(sources[0]))]
    first, second = dealt[: len(sources[0])], dealt[len(sources[0]) :]
    assert sorted(first) == sorted(second) == list(range(len(sources[0])))
    assert first != second


def test_records_that_are_dealt_late_are_those_that_would_have_been_dealt_in_order(make_mixture, sources):
    counted = [replace(Counted(sources[0]), name=str(i), weight=i + 0.5) for i in range(3)]
    late, early = (make_mixture(own=counted, tasks={"understanding": {}}).sources["understanding"] for _ in range(2))
    late.record(9000)
    for ordinal in (0, 4095, 4096, 8191, 8192, 9000):
        (a, i), (b, j) = early.record(ordinal), late.record(ordinal)
        assert (a.name, i) == (b.name, j), ordinal


def test_other_records_about_the_same_document_leave_out_the_record_itself(tmp_path):
    records = writing.questions(6)
    for record in records[:4]:
        record["context"] = records[0]["context"]
    source = open_source(SourceSettings(path=str(writing.write_lines(tmp_path / "hall.jsonl", records))))
    about = SameSource(source, 2, np.random.default_rng(0)).about()
    assert [record.id for record in about] == ["q0", "q1", "q3"]
    assert SameSource(source, 5, np.random.default_rng(0)).about() == []


def test_the_curriculum_grows_from_the_fewest_to_the_most_chunks(make_mixture):
    mixture = make_mixture(100, chunks=[1, 6], chunks_growth=0.5)
    numbers = [mixture.n_chunks("reasoning", place) for place in range(100)]
    assert numbers[0] == 1
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(1, 7))
    assert set(numbers[50:]) == {6}
    assert set(make_mixture(100, chunks=[1, 6], chunks_growth=0).n_chunks("reasoning", place) for place in range(100)) == {6}
    assert make_mixture(100, chunks=[1, 6], curriculum=False).n_chunks("reasoning", 0) == 6


def test_a_task_may_have_chunks_and_a_batch_size_of_its_own(make_mixture):
    mixture = make_mixture(30, tasks={"understanding": {"chunks": [1, 1], "batch_size": 5}, "reasoning": {}}, chunks=[4, 4], curriculum=False)
    assert mixture.n_chunks("understanding", 29) == 1
    sizes = {task: [len(mixture[i].samples) for i in range(30) if mixture[i].task == task] for task in mixture.tasks}
    assert (np.mean(sizes["understanding"]), np.mean(sizes["reasoning"])) == (5, 2)


def test_batches_of_a_pool_waste_less_padding_than_random_ones(make_mixture):
    mixture = make_mixture(
        POOL_BATCHES, batch_size=8, chunks=[1, 6], curriculum=False, ratios=[4], tasks={"understanding": {}, "reasoning": {}}, max_answer_tokens=200
    )
    batches = [mixture[index] for index in range(POOL_BATCHES)]

    def waste(groups):
        lengths = [[sample.n_positions for sample in group] for group in groups]
        return 1 - sum(map(sum, lengths)) / sum(len(own) * max(own) for own in lengths)

    samples = [sample for batch in batches for sample in batch.samples]
    np.random.default_rng(0).shuffle(samples)
    at_random = waste([samples[i : i + 8] for i in range(0, len(samples), 8)])
    bucketed = waste([batch.samples for batch in batches])
    assert bucketed < 0.1
    assert bucketed < at_random / 3


def test_cutting_by_length_keeps_every_sample_and_leaves_no_batch_empty():
    rng = np.random.default_rng(0)
    for _ in range(50):
        n_batches = int(rng.integers(1, 8))
        samples = [Sample(str(i), prompt_ids=[0] * int(rng.integers(1, 200))) for i in range(n_batches * int(rng.integers(1, 5)))]
        batches = cut_by_length(samples, n_batches)
        assert len(batches) == n_batches
        assert all(batches)
        assert sorted(sample.name for batch in batches for sample in batch) == sorted(sample.name for sample in samples)


def test_a_source_that_a_task_names_must_be_there(make_mixture):
    with pytest.raises(UserError, match=r"`tasks.reasoning.sources` names 'hal', and the sources are texts, questions"):
        make_mixture(tasks={"reasoning": {"sources": ["hal"]}})


def test_a_task_without_records_of_its_kind_is_refused(make_mixture, sources):
    with pytest.raises(UserError, match="reads question records, and no source has any"):
        make_mixture(own=sources[:1], tasks={"reasoning": {}})


def test_records_that_give_no_sample_are_refused_after_a_while(make_mixture, tmp_path):
    from e2llm.training.data import SourceSettings, open_source

    path = writing.write_lines(tmp_path / "short.jsonl", [{"id": str(i), "text": "One chunk."} for i in range(5)])
    mixture = make_mixture(own=[open_source(SourceSettings(path=str(path)))], tasks={"continuation": {}})
    with pytest.raises(UserError, match="of 'short' in a row give no sample for the task 'continuation'"):
        mixture[0]
