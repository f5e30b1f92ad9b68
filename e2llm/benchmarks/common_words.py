"""Common words (RULER's CWE): name the ten words of a list that stand in it most often.

They stand in it 30 times, the others three times.
"""

import math
import random
import re
from functools import cache
from typing import ClassVar

from e2llm.benchmarks.data import Data
from e2llm.benchmarks.ruler import Ruler

N_COMMON = 10
# How often a common and an uncommon word stands in the list; below 4K tokens RULER takes the second
# pair, for 30 times ten words find no room.
TIMES, TIMES_SHORT = (30, 3), (6, 1)
SHORT_TOKENS = 4_000
# Measured: a word, a full stop, a space; the digits of its number come on top.
TOKENS_PER_WORD = 3.3


class CommonWords(Ruler):
    """List the ten most common words of a numbered list.

    The words come from the text that haystacks are made of.
    """

    name: ClassVar[str] = "common-words"
    max_new_tokens: ClassVar[int] = 120

    def make(self, n_tokens: int, rng: random.Random, data: Data) -> tuple[str, str, list[str]]:
        """Fill the list with as many uncommon words as it takes."""
        often, seldom = TIMES if n_tokens >= SHORT_TOKENS else TIMES_SHORT
        n_items = int(n_tokens / (TOKENS_PER_WORD + math.log10(n_tokens / 7)))
        # What the common words leave of the list is for the uncommon ones.
        n_words = N_COMMON + (n_items - N_COMMON * often) // seldom
        words = _draw(_vocabulary(data), n_words, rng)
        common = words[:N_COMMON]
        items = common * often + words[N_COMMON:] * seldom
        rng.shuffle(items)
        head = (
            "Below is a numbered list of words. In these words, some appear more often than "
            "others. Memorize the ones that appear most often.\n"
        )
        document = head + " ".join(f"{number}. {word}" for number, word in enumerate(items, 1))
        return document, f"What are the {N_COMMON} most common words in the above list?", common


@cache
def _vocabulary(data: Data) -> list[str]:
    return sorted(set(re.findall(r"\b[a-z]{4,12}\b", data.haystack()[1])))


def _draw(vocabulary: list[str], n_words: int, rng: random.Random) -> list[str]:
    """Draw different words; where the vocabulary ends, two of them are joined by a hyphen."""
    words = dict.fromkeys(rng.sample(vocabulary, min(n_words, len(vocabulary))))
    while len(words) < n_words:
        words[f"{rng.choice(vocabulary)}-{rng.choice(vocabulary)}"] = None
    return list(words)
