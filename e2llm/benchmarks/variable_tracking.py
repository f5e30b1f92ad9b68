"""Variable tracking (RULER): name every variable that one value came to.

The assignments are scattered over a text.
"""

import random
import string
from itertools import pairwise
from typing import ClassVar

from e2llm.benchmarks.data import Data
from e2llm.benchmarks.ruler import Ruler

NOISE = (
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.\n"
)
N_HOPS = 4  # of one chain, as in the paper
TOKENS_PER_NOISE = 25  # measured


class VariableTracking(Ruler):
    """Follow one chain of four hops: five variables are the answer."""

    name: ClassVar[str] = "variable-tracking"
    max_new_tokens: ClassVar[int] = 30

    def make(self, n_tokens: int, rng: random.Random, data: Data) -> tuple[str, str, list[str]]:
        """Spread the assignments, in their order, over sentences that say nothing."""
        variables = distinct(rng, string.ascii_uppercase, 5, N_HOPS + 1)
        value = rng.randint(10_000, 99_999)
        chain = [
            f"VAR {variables[0]} = {value} ",
            *(f"VAR {to} = VAR {of} " for of, to in pairwise(variables)),
        ]
        pieces = [NOISE] * (n_tokens // TOKENS_PER_NOISE)
        places = sorted(rng.sample(range(len(pieces)), len(chain)))
        # Each assignment moves the places after it by one.
        for n_before, (place, assignment) in enumerate(zip(places, chain, strict=True)):
            pieces.insert(place + n_before, assignment)
        document = (
            "Memorize and track the chain(s) of variable assignment hidden in the following "
            "text.\n\n" + "".join(pieces).strip()
        )
        question = f"Find all variables that are assigned the value {value} in the text above."
        return document, question, variables


def distinct(rng: random.Random, alphabet: str, n_letters: int, n_words: int) -> list[str]:
    """Return words of random letters, no two of them the same."""
    words: dict[str, None] = {}
    while len(words) < n_words:
        words["".join(rng.choices(alphabet, k=n_letters))] = None
    return list(words)
