"""Pools of batches: dealt to readers that take turns."""

import pytest

from e2llm.training.deal import deal_pools


@pytest.mark.parametrize(
    ("n_batches", "pool_batches", "n_readers"),
    [(1, 4, 1), (10, 4, 1), (24, 4, 3), (31, 4, 3), (2, 4, 3), (0, 4, 2)],
)
def test_readers_that_take_turns_have_pools_of_their_own(n_batches, pool_batches, n_readers):
    pools, places = deal_pools(n_batches, pool_batches, n_readers)
    readers: dict[int, set[int]] = {}
    for index, (pool, _) in enumerate(places):
        readers.setdefault(int(pool), set()).add(index % n_readers)
    assert all(len(own) == 1 for own in readers.values())
    assert [first for first, _ in pools] == [0, *(last for _, last in pools[:-1])][: len(pools)]
    assert all(0 < last - first <= pool_batches for first, last in pools)
    assert sorted(pools[pool][0] + place for pool, place in places) == list(range(n_batches))
