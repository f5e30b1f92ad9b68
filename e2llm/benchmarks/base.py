"""What every benchmark is: documents, questions about them, answers, and how they are scored.

No torch here.
"""

import hashlib
import json
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from e2llm.benchmarks.data import Data
from e2llm.errors import UserError
from e2llm.training.data.records import QuestionRecord

SCALES = ("quick", "full")
# Lengths that have no meaning of their own in the paper, in tokens.
LENGTHS = (1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000)


@dataclass(frozen=True)
class Sample:
    """A question about a document, and what it should be answered.

    Attributes:
        id: Unlike every other of the benchmark.
        document: The text to read.
        question: The question.
        answers: Any of which is right; at least one. Where the metric is "needle" or "contains",
            all of which belong into the answer.
        groups: What tables and figures tell samples apart by, such as the depth of a needle.
    """

    id: str
    document: str
    question: str
    answers: tuple[str, ...]
    groups: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Digest of all that decides the answer and its score.

        By it a result is never taken for another sample's.
        """
        content = json.dumps([self.document, self.question, self.answers])
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class Benchmark(ABC):
    """Load samples, and name how their answers are scored.

    Attributes:
        name: By which it is called.
        metrics: Names in `evaluation.metrics.METRICS`.
        perplexity: Whether the nats of the first answer are measured too.
        by_position: Whether the nats of every token are kept, with where the chunks of the document
            begin; the answer is then the document.
        max_new_tokens: Longest answer, in tokens, where `longest_answer` does not tell otherwise.
        buckets: Bounds of the length groups, in tokens of the document.
        length_group: Which of a sample's groups tells the length that its document was made to
            have, where it was.
    """

    name: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    perplexity: ClassVar[bool] = False
    by_position: ClassVar[bool] = False
    max_new_tokens: ClassVar[int] = 32
    buckets: ClassVar[tuple[int, ...]] = LENGTHS
    length_group: ClassVar[str] = "length"

    @abstractmethod
    def load(self, scale: str, seed: int, data: Data) -> list[Sample]:
        """Return the samples of a scale, "quick" or "full".

        Those about one document stand together.

        Raises:
            E2LLMError: The data cannot be had; the message says how to get it.
        """

    def longest_answer(self, sample: Sample) -> int:
        """Return how many tokens an answer to a sample may have."""
        return self.max_new_tokens

    def bucket(self, n_tokens: int) -> str:
        """Return the length group that a document of `n_tokens` tokens is in, such as "6-12K"."""
        bounds = [0, *self.buckets]
        place = sum(n_tokens >= bound for bound in bounds)
        low = _short(bounds[place - 1])
        return f"{low}-{_short(bounds[place])}K" if place < len(bounds) else f"{low}K+"


class QuestionBenchmark(Benchmark):
    """A data set of questions about documents.

    Attributes:
        datasets: Names of the local folders or data sets of the hub (`training.data.datasets`) that
            hold it; the first that is here is read.
        n_quick: Samples of the quick scale, on `documents_quick` documents of at most `chars_quick`
            characters.
    """

    datasets: ClassVar[tuple[str, ...]]
    n_quick: ClassVar[int] = 2
    documents_quick: ClassVar[int] = 2
    chars_quick: ClassVar[int] = 24_000

    def load(self, scale: str, seed: int, data: Data) -> list[Sample]:
        """Return all samples, or for the quick scale some about documents that are not too long."""
        documents = self.documents(data)
        if scale == "quick":
            rng = random.Random(seed)
            short = [own for own in documents if len(own[0].document) <= self.chars_quick]
            documents = rng.sample(short, min(self.documents_quick, len(short)))
            # Rounded up, so that there are `n_quick` questions or a few more.
            most = -(-self.n_quick // max(1, len(documents)))
            documents = [rng.sample(own, min(most, len(own))) for own in documents]
        return [sample for own in documents for sample in own]

    def documents(self, data: Data) -> list[list[Sample]]:
        """Return the samples of every document, in the order of the data."""
        documents: dict[str, list[Sample]] = {}
        for record in data.records(self.datasets):
            if not isinstance(record, QuestionRecord):
                raise UserError(
                    f"{self.name}: {record.source}/{record.id} is a text without a question; "
                    "give `--data` a folder of questions."
                )
            own = documents.setdefault(record.context, [])
            # Held once, however many questions there are.
            text = own[0].document if own else record.context
            groups = {"source": record.source}
            own.append(Sample(record.id, text, record.question, record.answers, groups))
        return list(documents.values())


def _short(bound: int) -> str:
    return f"{bound / 1000:g}"
