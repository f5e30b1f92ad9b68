"""Reconstruction: restate a text word for word.

It is the paper's table of precision, recall and F1 by chunk size and length.
"""

from typing import ClassVar

from e2llm.benchmarks.base import Benchmark, Sample
from e2llm.benchmarks.data import CHARS_PER_TOKEN, Data, repeat

# One of the wordings that the understanding task trains with.
QUESTION = "Restate the text of this document word for word."
LENGTHS = {"quick": (100,), "full": (100, 500, 1_000, 2_000, 3_000)}
N_SAMPLES = {"quick": 1, "full": 20}


class Reconstruction(Benchmark):
    """Restate passages of a long text.

    By chunk size it is run with `--methods e2llm:chunk_chars=1024`, at ratios with e2llm-4,
    e2llm-16, e2llm-64.
    """

    name: ClassVar[str] = "reconstruction"
    metrics: ClassVar[tuple[str, ...]] = ("reconstruction",)
    perplexity: ClassVar[bool] = True
    by_position: ClassVar[bool] = True

    def longest_answer(self, sample: Sample) -> int:
        """Return a quarter more than the document has."""
        return len(sample.document) // CHARS_PER_TOKEN * 5 // 4

    def load(self, scale: str, seed: int, data: Data) -> list[Sample]:
        """Return passages of every length from equally distant places."""
        _, text = data.haystack()
        samples = []
        for n_tokens in LENGTHS[scale]:
            n_chars = n_tokens * CHARS_PER_TOKEN
            for number in range(N_SAMPLES[scale]):
                place = (2 * number + 1) * len(text) // (2 * N_SAMPLES[scale])
                start = (seed * 7919 + place) % len(text)
                # Without the first word, which may have been cut.
                passage = repeat(text[start:] + text[:start], n_chars).partition(" ")[2].strip()
                name, groups = f"{n_tokens}-{number}", {"length": n_tokens}
                samples.append(Sample(name, passage, QUESTION, (passage,), groups))
        return samples
