"""Samples that a trained pair is measured on, drawn from held-out documents."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from e2llm.benchmarks.base import Sample
from e2llm.benchmarks.data import Data
from e2llm.benchmarks.needle import hide
from e2llm.chunking.chunker import SpanMaker, make_spans
from e2llm.training.data.records import QuestionRecord
from e2llm.training.tasks.understanding import wordings

TEXTS = ("text_books", "text_wiki", "text_openstax", "text_tech", "text_speeches")
SQUAD = "squad_v2_dev"
LONG_CHARS = 64_000  # of a document of 16K tokens
ANY_LENGTH = 2**62


@dataclass(frozen=True)
class HeldOut:
    """Draw the same samples for the same seed.

    Attributes:
        data: Local data sets.
        n_samples: How many to draw, of some a part.
        seed: Of the draw.
    """

    data: Data
    n_samples: int
    seed: int

    def questions(self, folder: str, n_chars: int = ANY_LENGTH) -> list[Sample]:
        """Draw questions, each about a document of its own."""
        by_document: dict[str, QuestionRecord] = {}
        for record in self.data.records([folder]):
            if len(record.context) <= n_chars:
                by_document.setdefault(record.context, record)
        n_drawn = min(self.n_samples, len(by_document))
        return [
            _sample(record)
            for record in random.Random(self.seed).sample(list(by_document.values()), n_drawn)
        ]

    def chunks(self, chunker: SpanMaker) -> list[str]:
        """Draw chunks of texts of every kind, of more than 300 characters where there are any."""
        rng, chunks = random.Random(self.seed), []
        for folder in TEXTS:
            texts = [record.text for record in self.data.records([folder])]
            for _ in range(max(1, self.n_samples // len(TEXTS))):
                text = rng.choice(texts)
                spans = make_spans(text, chunker)
                long = [span for span in spans if span[1] - span[0] > 300]
                start, end = rng.choice(long or spans)
                chunks.append(text[start:end].strip())
        return chunks

    def passages(self) -> list[Sample]:
        """Draw passages of 500 tokens from books, to be said again."""
        rng, samples = random.Random(self.seed), []
        texts = [record.text for record in self.data.records(["text_books"])]
        for number in range(max(2, self.n_samples // 4)):
            text = rng.choice(texts)
            start = rng.randrange(len(text) - 2_100)
            # Begins at a word.
            passage = text[start : start + 2_000].partition(" ")[2].strip()
            samples.append(Sample(str(number), passage, wordings()[0], (passage,)))
        return samples

    def long_documents(self) -> list[Sample]:
        """Draw questions; eight share a document of 16K tokens that holds their paragraphs."""
        samples = self.questions(SQUAD)
        paragraphs = list(dict.fromkeys(record.context for record in self.data.records([SQUAD])))
        rng, long = random.Random(self.seed), []
        rng.shuffle(paragraphs)
        for start in range(0, len(samples), 8):
            own = samples[start : start + 8]
            held = [sample.document for sample in own]
            n_chars, chosen = sum(map(len, held)), list(held)
            for paragraph in paragraphs:
                if n_chars > LONG_CHARS:
                    break
                if paragraph not in held:
                    chosen.append(paragraph)
                    n_chars += len(paragraph)
            rng.shuffle(chosen)
            document = "\n\n".join(chosen)
            long += [Sample(sample.id, document, sample.question, sample.answers) for sample in own]
        return long

    def meetings(self) -> list[Sample]:
        """Draw whole meetings, and up to two questions about each."""
        by_document: dict[str, list[Sample]] = {}
        for record in self.data.records(["qmsum"]):
            by_document.setdefault(record.context, []).append(_sample(record))
        rng = random.Random(self.seed)
        n_drawn = min(max(2, self.n_samples // 3), len(by_document))
        return [
            sample
            for meeting in rng.sample(sorted(by_document), n_drawn)
            for sample in rng.sample(by_document[meeting], min(2, len(by_document[meeting])))
        ]

    def needles(self, n_tokens: int) -> list[Sample]:
        """Hide a needle at several depths of a text of so many tokens."""
        haystack = "\n\n".join(record.text for record in self.data.records(["text_books"]))
        samples = []
        for depth in (0, 25, 50, 75, 100) if n_tokens < 100_000 else (10, 50, 90):
            # A needle does not change when other lengths or depths are asked for.
            rng = random.Random(f"{self.seed} {n_tokens} {depth}")
            samples.append(hide(haystack[: n_tokens * 4], n_tokens, depth, rng, "text_books"))
        return samples

    def asked_documents(self) -> Iterator[tuple[str, list[tuple[str, int]]]]:
        """Yield documents of 16K tokens with their questions and the place of each answer.

        Ten questions a sample; every paragraph is in one document alone, and asked about once.
        """
        by_paragraph: dict[str, list[QuestionRecord]] = {}
        for record in self.data.records([SQUAD]):
            if record.answers[0] in record.context:
                by_paragraph.setdefault(record.context, []).append(record)
        rng = random.Random(self.seed)
        records = [rng.choice(own) for own in by_paragraph.values()]
        rng.shuffle(records)
        n_left = 10 * self.n_samples
        while records and n_left > 0:
            held, places, n_chars = [], [], 0
            while records and n_chars < LONG_CHARS:
                record = records.pop()
                held.append(record.context)
                places.append((record.question, n_chars + record.context.index(record.answers[0])))
                n_chars += len(record.context) + 2  # the blank line between two paragraphs
            yield "\n\n".join(held), places[:n_left]
            n_left -= len(places)


def _sample(record: QuestionRecord) -> Sample:
    return Sample(record.id, record.context, record.question, record.answers)
