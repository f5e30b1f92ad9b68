"""Needle in a haystack: find sentences that were put into a long text (Kamradt 2023).

Their keys are such that nobody can guess them.
"""

import random
from typing import ClassVar

from e2llm.benchmarks.base import Benchmark, Sample
from e2llm.benchmarks.data import CHARS_PER_TOKEN, Data, repeat

_WORDS = """
    amber anchor apple arrow badge barley basil beacon birch bishop blanket bronze bucket candle
    canyon carbon castle cedar chapel cherry cinder clover cobalt copper coral cotton cradle crimson
    dagger desert eagle ember falcon feather fennel fiddle flint forest garnet ginger glacier
    granite hammer harbor hazel helmet hollow indigo island ivory jasper juniper kettle ladder
    lantern laurel lemon linen lotus magnet maple marble meadow mirror mustard nectar nickel nutmeg
    oyster paper pepper pewter pigeon pillow plum quartz rabbit raven ribbon river saddle saffron
    salmon scarlet silver spruce sugar summit thistle thunder timber tulip turnip velvet violet
    walnut willow winter
"""
WORDS = tuple(_WORDS.split())
# Lengths in tokens, depths in percent for one needle, and how many needles there are where there
# are several.
LENGTHS = {"quick": (1_000,), "full": (1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000)}
DEPTHS = {"quick": (50,), "full": tuple(range(0, 101, 10))}
SEVERAL = 3


class Needle(Benchmark):
    """Name the secret code that a sentence tells, or the codes of several, spread over the text."""

    name: ClassVar[str] = "needle"
    metrics: ClassVar[tuple[str, ...]] = ("needle", "contains")
    max_new_tokens: ClassVar[int] = 48

    def load(self, scale: str, seed: int, data: Data) -> list[Sample]:
        """Return every length with one needle at every depth, and with several at once."""
        name, haystack = data.haystack()
        samples = []
        for n_tokens in LENGTHS[scale]:
            text = repeat(haystack, n_tokens * CHARS_PER_TOKEN)
            for depth in (*DEPTHS[scale], None):
                rng = random.Random(f"{seed} {n_tokens} {depth}")
                samples.append(hide(text, n_tokens, depth, rng, name))
        return samples


def hide(text: str, n_tokens: int, depth: int | None, rng: random.Random, haystack: str) -> Sample:
    """Put one needle at a depth in percent, or for None several, spread over the text."""
    n_needles = SEVERAL if depth is None else 1
    places = rng.sample(WORDS, n_needles)
    keys = [
        f"{rng.choice(WORDS)} {rng.choice(WORDS)} {rng.randrange(1000, 10_000)}" for _ in places
    ]
    # Several needles stand in the middles of equal parts of the text.
    depths: list[float] = [100 * (place + 0.5) / n_needles for place in range(n_needles)]
    if depth is not None:
        depths = [depth]
    pieces, last = [], 0
    for place, key, own in zip(places, keys, depths, strict=True):
        at = sentence_start(text, int(len(text) * own / 100))
        pieces += [text[last:at], f" The secret code of the {place} gate is {key}. "]
        last = at
    question = (
        f"What {'is the secret code' if n_needles == 1 else 'are the secret codes'} of the "
        f"{_list(places)} gate{'s' * (n_needles > 1)}?"
    )
    groups = {"length": n_tokens, "depth": depth, "needles": n_needles, "haystack": haystack}
    name = f"{n_tokens}-{'several' if depth is None else depth}"
    return Sample(name, "".join([*pieces, text[last:]]), question, tuple(keys), groups)


def sentence_start(text: str, at: int) -> int:
    """Return where a sentence begins within 200 characters before `at`, or else a word."""
    if at in (0, len(text)):
        return at
    least = max(0, at - 200)
    return text.rfind(". ", least, at) + 1 or text.rfind(" ", least, at) + 1 or at


def _list(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
