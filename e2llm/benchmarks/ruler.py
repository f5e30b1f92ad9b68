"""RULER's synthetic tasks (Hsieh et al. 2024): what they have in common.

Texts, questions, settings and scores are those of `scripts/data/synthetic` and
`scripts/synthetic.yaml` of https://github.com/NVIDIA/RULER. Two things differ, since here a
document is read before its question is known and the question ends the user's turn: the worked
example that it puts before variable tracking and common words is left out, and so is the beginning
of the answer that it writes for the model. Its questions are in `ruler_qa`.
"""

import random
from abc import abstractmethod
from typing import ClassVar

from e2llm.benchmarks.base import Benchmark, Sample
from e2llm.benchmarks.data import Data

LENGTHS = {"quick": (1_000,), "full": (4_000, 8_000, 16_000, 32_000, 64_000, 128_000)}
# The paper's scores are multiples of 1/300 (three words) and 1/1000 (ten words): 100 samples a
# length.
N_SAMPLES = {"quick": 1, "full": 100}


class Ruler(Benchmark):
    """Documents of every length, made by `make`.

    The score is the share of the answers that are there, RULER's `string_match_all`.
    """

    metrics: ClassVar[tuple[str, ...]] = ("match_all",)

    @abstractmethod
    def make(self, n_tokens: int, rng: random.Random, data: Data) -> tuple[str, str, list[str]]:
        """Return a document, the question, and all that belongs into the answer.

        Args:
            n_tokens: About how long the document is, in tokens of SmolLM2's tokenizer.
            rng: What is drawn comes from it alone.
            data: Where texts come from.
        """

    def load(self, scale: str, seed: int, data: Data) -> list[Sample]:
        """Return the samples of every length."""
        samples = []
        for n_tokens in LENGTHS[scale]:
            for number in range(N_SAMPLES[scale]):
                rng = random.Random(f"{seed} {n_tokens} {number}")
                document, question, answers = self.make(n_tokens, rng, data)
                name, groups = f"{n_tokens}-{number}", {"length": n_tokens}
                samples.append(Sample(name, document, question, tuple(answers), groups))
        return samples
