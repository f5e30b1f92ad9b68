"""SQuAD: a phrase of a paragraph (Rajpurkar et al. 2016), among others that make it long."""

import random
from typing import ClassVar

from e2llm.benchmarks.base import QuestionBenchmark, Sample
from e2llm.benchmarks.data import Data

N_QUESTIONS = {"quick": 2, "full": 200}
PARAGRAPHS = {"quick": (1, 8), "full": (1, 4, 16, 64)}


class Squad(QuestionBenchmark):
    """Answer in a few words from 1 to 64 paragraphs; the group "paragraphs" tells how many."""

    name: ClassVar[str] = "squad"
    metrics: ClassVar[tuple[str, ...]] = ("f1", "exact_match")
    perplexity: ClassVar[bool] = True
    length_group: ClassVar[str] = "paragraphs"
    datasets: ClassVar[tuple[str, ...]] = ("squad", "squad_v2_dev")

    def load(self, scale: str, seed: int, data: Data) -> list[Sample]:
        """Return a question on each of some paragraphs, at every length.

        The other paragraphs are drawn by chance.
        """
        documents = self.documents(data)
        rng = random.Random(seed)
        rng.shuffle(documents)
        chosen = [own[0] for own in documents[: N_QUESTIONS[scale]]]
        texts = [own[0].document for own in documents]
        return [_among(sample, rng, texts, n) for n in PARAGRAPHS[scale] for sample in chosen]


def _among(sample: Sample, rng: random.Random, texts: list[str], n: int) -> Sample:
    """Put a sample's paragraph at a random place among others, of which none holds its answer."""
    wanted = [answer.lower() for answer in sample.answers]
    others: list[str] = []
    # More than are needed, because those that hold the answer are passed over.
    for text in rng.sample(texts, min(len(texts), 8 * n)):
        answered = any(answer in text.lower() for answer in wanted)
        if len(others) < n - 1 and text != sample.document and not answered:
            others.append(text)
    others.insert(rng.randint(0, len(others)), sample.document)
    document, groups = "\n\n".join(others), {"paragraphs": n}
    return Sample(f"{sample.id}-{n}", document, sample.question, sample.answers, groups)
