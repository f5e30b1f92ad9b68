"""Batches: what is dealt to them, in which order, and how little of them is padding."""

from collections import Counter

import numpy as np
import pytest
from torch.utils.data import DataLoader

from e2llm.errors import UserError
from e2llm.training.data.sources import SourceSettings, open_source
from e2llm.training.deal import stage_seed
from e2llm.training.mixture import POOL_BATCHES, POOL_SAMPLES, RATIO_RUN, cut_by_length
from e2llm.training.tasks import Sample
from tests.training import writing
from tests.training.mixtures import Counted, Texts, all_of, ids_of


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
    mixture = make_mixture(
        POOL_BATCHES + 40,
        tasks={name: {"share": share} for name, share in shares.items()},
        batch_size=1,
    )
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
    mixture = make_mixture(
        len(tasks) * len(ratios),
        tasks={name: {} for name in tasks},
        ratios=ratios,
        batch_size=1,
        curriculum=False,
    )
    assert Counter(batch[:2] for batch in all_of(mixture)) == {
        (task, ratio): 1 for task in tasks for ratio in ratios
    }


def test_a_ratio_named_twice_is_drawn_twice_as_often(make_mixture):
    counts = Counter(
        batch[1]
        for batch in all_of(
            make_mixture(60, ratios=[2, 4, 4, "chunk"], tasks={"reasoning": {}}, batch_size=1)
        )
    )
    assert (counts[2], counts[4], counts["chunk"]) == (15, 30, 15)


def test_the_curriculum_grows_from_the_fewest_to_the_most_chunks(make_mixture):
    mixture = make_mixture(100, chunks=[1, 6], chunks_growth=0.5)
    numbers = [mixture.n_chunks("reasoning", place) for place in range(100)]
    assert numbers[0] == 1
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(1, 7))
    assert set(numbers[50:]) == {6}
    assert set(
        make_mixture(100, chunks=[1, 6], chunks_growth=0).n_chunks("reasoning", place)
        for place in range(100)
    ) == {6}
    assert make_mixture(100, chunks=[1, 6], curriculum=False).n_chunks("reasoning", 0) == 6


def test_a_task_may_have_chunks_and_a_batch_size_of_its_own(make_mixture):
    mixture = make_mixture(
        30,
        tasks={"understanding": {"chunks": [1, 1], "batch_size": 5}, "reasoning": {}},
        chunks=[4, 4],
        curriculum=False,
    )
    assert mixture.n_chunks("understanding", 29) == 1
    sizes = {
        task: [len(mixture[i].samples) for i in range(30) if mixture[i].task == task]
        for task in mixture.tasks
    }
    assert (np.mean(sizes["understanding"]), np.mean(sizes["reasoning"])) == (5, 2)


def test_a_batch_has_about_the_positions_that_are_asked_for_whatever_its_ratio_and_its_chunks(
    make_mixture,
):
    wanted, ratios = 1200, [1, 4, 16]
    tasks = {"understanding": {"chunks": [1, 1]}, "reasoning": {}}
    mixture = make_mixture(
        90,
        batch_positions=wanted,
        ratios=ratios,
        tasks=tasks,
        chunks=[1, 6],
        max_answer_tokens=200,
        max_positions=900,
    )
    batches = [mixture[index] for index in range(90)]
    for task in tasks:
        for ratio in ratios:
            own = [batch for batch in batches if (batch.task, batch.ratio) == (task, ratio)]
            assert np.mean(
                [
                    sum(sample.n_positions + sample.n_encoded / 8 for sample in batch.samples)
                    for batch in own
                ]
            ) == pytest.approx(wanted, rel=0.4)
    sizes = {
        ratio: np.mean([len(batch.samples) for batch in batches if batch.ratio == ratio])
        for ratio in ratios
    }
    assert sizes[1] < sizes[16]


def test_where_batches_are_large_a_ratio_lasts_for_some_batches_of_a_task(make_mixture):
    mixture = make_mixture(
        6 * RATIO_RUN, batch_positions=400, ratios=[1, 4, 16], tasks={"understanding": {}}
    )
    own = [mixture._ratio(place) for place in range(6 * RATIO_RUN)]
    assert all(
        len(set(own[start : start + RATIO_RUN])) == 1 for start in range(0, len(own), RATIO_RUN)
    )
    assert set(own[: 3 * RATIO_RUN]) == {0, 1, 2}


def test_how_many_chunks_documents_have_is_drawn_for_the_samples_of_a_batch_together(make_mixture):
    long = Texts([writing.prose(seed, 120) for seed in range(8)])
    mixture = make_mixture(
        24, chunks=[1, 6], curriculum=False, tasks={"understanding": {}}, own=[long], batch_size=5
    )
    samples = [sample for index in range(24) for sample in mixture[index].samples]
    numbers = Counter(
        len({chunk for row in sample.rows for chunk in row.chunk_ids if chunk >= 0})
        for sample in samples
    )
    assert set(numbers) == set(range(1, 7))
    assert all(n_samples % 5 == 0 for n_samples in numbers.values())


def test_loader_processes_give_every_batch_once(make_mixture):
    def named(n_readers, n_workers):
        mixture = make_mixture(
            40, tasks={"understanding": {}, "reasoning": {}}, n_readers=n_readers
        )
        return [
            ids_of(batch) for batch in DataLoader(mixture, batch_size=None, num_workers=n_workers)
        ]

    assert named(2, 2) == named(2, 0)
    assert len(named(2, 2)) == 40
    samples = [Counter(str(sample) for batch in named(n, 0) for sample in batch[2]) for n in (1, 2)]
    assert samples[0] == samples[1]


def test_a_pool_has_so_many_batches_that_its_samples_stay_few(make_mixture):
    mixture = make_mixture(200, batch_size=POOL_SAMPLES // 16, tasks={"understanding": {}})
    assert {last - first for first, last in mixture._pools[:-1]} == {16}


def test_batches_of_a_pool_waste_less_padding_than_random_ones(make_mixture):
    mixture = make_mixture(
        POOL_BATCHES,
        batch_size=8,
        chunks=[1, 6],
        curriculum=False,
        ratios=[4],
        tasks={"understanding": {}, "reasoning": {}},
        max_answer_tokens=200,
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
        samples = [
            Sample(str(i), prompt_ids=[0] * int(rng.integers(1, 200)))
            for i in range(n_batches * int(rng.integers(1, 5)))
        ]
        batches = cut_by_length(samples, n_batches)
        assert len(batches) == n_batches
        assert all(batches)
        assert sorted(sample.name for batch in batches for sample in batch) == sorted(
            sample.name for sample in samples
        )


def test_records_that_give_no_sample_are_refused_after_a_while(make_mixture, tmp_path):
    path = writing.write_lines(
        tmp_path / "short.jsonl", [{"id": str(i), "text": "One chunk."} for i in range(5)]
    )
    mixture = make_mixture(
        own=[open_source(SourceSettings(path=str(path)))], tasks={"continuation": {}}
    )
    with pytest.raises(
        UserError, match="of 'short' in a row give no sample for the task 'continuation'"
    ):
        mixture[0]
