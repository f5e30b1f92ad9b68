"""RULER's question answering: questions of SQuAD and HotpotQA, their paragraphs among others.

There are as many others as make a document of a set length. The form is that of RULER's
`scripts/data/synthetic/qa.py`. What differs from it beside what `ruler` says: the other paragraphs
are drawn from the whole data set, where RULER takes those of the same article of SQuAD first, which
the records here do not tell.
"""

import random
from typing import ClassVar

from e2llm.benchmarks.base import QuestionBenchmark, Sample
from e2llm.benchmarks.data import CHARS_PER_TOKEN, Data
from e2llm.benchmarks.ruler import LENGTHS, N_SAMPLES

INSTRUCTION = (
    "Answer the question based on the given documents. Only give me the answer and do not output "
    "any other words."
)


class QuestionAmong(QuestionBenchmark):
    """Answer in a few words from numbered paragraphs.

    The score is whether any right answer is there, RULER's `string_match_part`.
    """

    metrics: ClassVar[tuple[str, ...]] = ("match_part",)

    def load(self, scale: str, seed: int, data: Data) -> list[Sample]:
        """Return the same questions at every length."""
        documents = self.documents(data)
        questions = [sample for own in documents for sample in own]
        chosen = random.Random(seed).sample(questions, min(N_SAMPLES[scale], len(questions)))
        every = [paragraph for own in documents for paragraph in _paragraphs(own[0].document)]
        paragraphs = list(dict.fromkeys(every))
        return [
            _among(sample, n_tokens, random.Random(f"{seed} {n_tokens} {sample.id}"), paragraphs)
            for n_tokens in LENGTHS[scale]
            for sample in chosen
        ]


class SquadAmong(QuestionAmong):
    """One paragraph holds the answer."""

    name: ClassVar[str] = "qa-squad"
    datasets: ClassVar[tuple[str, ...]] = ("squad", "squad_v2_dev")


class HotpotAmong(QuestionAmong):
    """Ten paragraphs belong to the question, and it takes two of them to answer."""

    name: ClassVar[str] = "qa-hotpotqa"
    datasets: ClassVar[tuple[str, ...]] = ("hotpotqa", "hotpotqa_sample")


def _among(sample: Sample, n_tokens: int, rng: random.Random, paragraphs: list[str]) -> Sample:
    """Put all of a sample's own paragraphs among others, in an order of chance.

    There are as many others as `n_tokens` have room for.
    """
    own = _paragraphs(sample.document)
    free = n_tokens * CHARS_PER_TOKEN - sum(map(len, own))
    chosen = list(own)
    # It ends at the first that finds no room; to go on would prefer short ones.
    for place in rng.sample(range(len(paragraphs)), len(paragraphs)):
        if free < len(paragraphs[place]):
            break
        if paragraphs[place] not in own:
            chosen.append(paragraphs[place])
            free -= len(paragraphs[place])
    rng.shuffle(chosen)
    text = "\n\n".join(
        f"Document {number}:\n{paragraph}" for number, paragraph in enumerate(chosen, 1)
    )
    document = f"{INSTRUCTION}\n\nThe following are given documents.\n\n{text}"
    question = f"{INSTRUCTION}\n\nQuestion: {sample.question}"
    groups = {"length": n_tokens, "paragraphs": len(chosen)}
    return Sample(f"{n_tokens}-{sample.id}", document, question, sample.answers, groups)


def _paragraphs(document: str) -> list[str]:
    return [paragraph for part in document.split("\n\n") if (paragraph := part.strip())]
