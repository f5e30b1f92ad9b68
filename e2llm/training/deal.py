"""Places dealt out evenly: to tasks, to sources, to pools of batches."""

import hashlib

import numpy as np

# Whatever the seed of a run, validation draws the same.
VALIDATION_SEED = 10_007


def stage_seed(*names: str) -> int:
    """Return a number that depends on all of the names, and on nothing else."""
    # Not Python's `hash`, which differs from process to process for text.
    return int.from_bytes(hashlib.sha256("/".join(names).encode()).digest()[:4], "big") % 2**31


def deal(weights: np.ndarray, n: int) -> np.ndarray:
    """Deal `n` places out by weight, evenly: in any stretch each gets its share to within a few.

    A longer deal begins as a shorter one does.
    """
    shares = weights / weights.sum()
    # More places of each than can be due among the first `n`; what is left over is cut off.
    counts = np.ceil(n * shares).astype(int) + len(shares)
    # The j-th place of one with share p is due at (j + 1/2) / p.
    due = np.concatenate(
        [(np.arange(count) + 0.5) / share for count, share in zip(counts, shares, strict=True)]
    )  # (sum of counts,), at least n
    # Places that are due at once keep the order of the weights: (n,)
    return np.repeat(np.arange(len(shares)), counts)[np.argsort(due, kind="stable")][:n]


def ordinals(dealt: np.ndarray) -> np.ndarray:
    """Return, for each place that was dealt, how many before it went to the same one."""
    result = np.empty(len(dealt), np.int64)  # (n,)
    for which in np.unique(dealt):
        own = dealt == which
        result[own] = np.arange(own.sum())
    return result


def deal_pools(
    n_batches: int, pool_batches: int, n_readers: int = 1
) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Cut batches into pools, and say which pool a batch is read from.

    Readers take turns at the batches: reader r reads every batch i with i % n_readers == r. Those
    are of the same pools, which no other reader then makes.

    Returns:
        The first batch of every pool and the one after its last, and (n_batches, 2) of every batch
        its pool and its place there.
    """
    pools: list[tuple[int, int]] = []
    places = np.zeros((n_batches, 2), int)
    start = 0
    while start < n_batches:
        # A block is a pool for every reader; the last one may be smaller.
        n_block = min(pool_batches * n_readers, n_batches - start)
        for reader in range(min(n_readers, n_block)):
            own = np.arange(start + reader, start + n_block, n_readers)  # (batches of the pool,)
            first = pools[-1][1] if pools else 0
            # Number of the pool and place in it, (batches of the pool, 2)
            places[own] = np.stack([np.full(len(own), len(pools)), np.arange(len(own))], 1)
            pools.append((first, first + len(own)))
        start += n_block
    return pools, places
