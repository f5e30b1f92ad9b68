"""Frequent words (RULER's FWE): name the three coded words that a text holds most often.

Frequencies fall as Zipf says.
"""

import math
import random
import string
from typing import ClassVar

from e2llm.benchmarks.data import Data
from e2llm.benchmarks.ruler import Ruler
from e2llm.benchmarks.variable_tracking import distinct

N_ASKED = 3
# The exponent of the paper, and the zeta function there.
ALPHA, ZETA = 2.0, math.pi**2 / 6
N_LETTERS = 6
# RULER: one word in the vocabulary for every 50 tokens of the text.
TOKENS_PER_DIFFERENT_WORD = 50
# Measured, with the dots that more than half of the words are.
TOKENS_PER_WORD = 2.0


class FrequentWords(Ruler):
    """Name the three most frequent coded words, beside the dots, which are still more frequent."""

    name: ClassVar[str] = "frequent-words"
    max_new_tokens: ClassVar[int] = 50

    def make(self, n_tokens: int, rng: random.Random, data: Data) -> tuple[str, str, list[str]]:
        """Write the word of rank r n r^-alpha / zeta(alpha) times, rounded down, and shuffle."""
        n_different = n_tokens // TOKENS_PER_DIFFERENT_WORD - 1
        coded = distinct(rng, string.ascii_lowercase, N_LETTERS, n_different)
        vocabulary = ["...", *coded]
        n_words = n_tokens / TOKENS_PER_WORD
        words = [
            word
            for rank, word in enumerate(vocabulary, 1)
            for _ in range(int(n_words * rank**-ALPHA / ZETA))
        ]
        rng.shuffle(words)
        head = (
            "Read the following coded text and track the frequency of each coded word. Find the "
            "three most frequently appeared coded words. "
        )
        question = (
            "Do not provide any explanation. Please ignore the dots '....'. "
            "What are the three most frequently appeared words in the above coded text?"
        )
        return head + " ".join(words), question, vocabulary[1 : 1 + N_ASKED]
