"""Cost: what reading and answering take as the document grows; the answers are not scored."""

from typing import ClassVar

from e2llm.benchmarks.base import Benchmark, Sample
from e2llm.benchmarks.data import CHARS_PER_TOKEN, Data, repeat

QUESTION = "What is this document about?"
LENGTHS = {"quick": (1_000, 2_000), "full": tuple(2**power * 1_000 for power in range(11))}


class Cost(Benchmark):
    """Ask one question about documents of growing length, up to a million tokens."""

    name: ClassVar[str] = "cost"
    metrics: ClassVar[tuple[str, ...]] = ()
    max_new_tokens: ClassVar[int] = 16

    def load(self, scale: str, seed: int, data: Data) -> list[Sample]:
        """Return one sample per length."""
        name, text = data.haystack()
        samples = []
        for n_tokens in LENGTHS[scale]:
            document = repeat(text, n_tokens * CHARS_PER_TOKEN)
            groups = {"length": n_tokens, "haystack": name}
            samples.append(Sample(f"{n_tokens}", document, QUESTION, ("",), groups))
        return samples
