"""The document of a question: cut around its answer, or among others."""

import re

import numpy as np

from e2llm.chunking.chunker import Span, make_spans
from e2llm.training.data.records import QuestionRecord
from e2llm.training.tasks.base import Draw, Others, one_of

# Longest answer, in characters, that is a phrase of the document and no summary.
SHORT = 200


def draw_document(
    record: QuestionRecord, answer: str, draw: Draw, others: Others
) -> tuple[str, list[Span], list[int]]:
    """Return a document of about `n_chunks` chunks, its spans, and which of them hold the answer.

    A longer context is cut around the answer where it holds it in words (so that a long answer
    stands at its start). Where a short answer is in other words, it is cut around the chunk that
    shares most words with question and answer; for a long one (a summary) it is kept whole. A
    shorter context stands among others of its source.
    """
    chunker = draw.processor.chunker
    text = record.context
    spans = make_spans(text, chunker)
    held = holding(text, spans, answer)
    if len(spans) > draw.n_chunks and not held and len(answer) <= SHORT:
        held = by_overlap(text, spans, f"{record.question} {answer}")[:1]
    if len(spans) > draw.n_chunks and held:
        place = one_of(draw.rng, held)
        earliest = place if len(answer) > SHORT else place - draw.n_chunks + 1
        last = len(spans) - draw.n_chunks
        first = int(draw.rng.integers(min(max(0, earliest), last), min(place, last) + 1))
        start, end = spans[first][0], spans[first + draw.n_chunks - 1][1]
        text = text[start:end]
    elif len(spans) < draw.n_chunks:
        texts, n_chunks = [text], len(spans)
        while n_chunks < draw.n_chunks:
            other = others.next()
            assert isinstance(other, QuestionRecord)
            more = other.context[: (draw.n_chunks - n_chunks) * chunker.size]
            # Another text with the answer would be a second place to find it.
            if answer.casefold() in more.casefold() or not more.strip():
                break
            texts.insert(int(draw.rng.integers(len(texts) + 1)), more)
            n_chunks += max(1, len(more) // chunker.size)
        text = "\n\n".join(texts)
    spans = make_spans(text, chunker)
    return text, spans, holding(text, spans, answer)


def holding(text: str, spans: list[Span], answer: str) -> list[int]:
    """Return the chunks in which the answer stands, or begins."""
    wanted, whole = answer.casefold()[:SHORT], text.casefold()
    if not wanted or len(whole) != len(text):  # case folding has moved the offsets
        return []
    places: list[int] = []
    at = whole.find(wanted)
    while at >= 0 and len(places) < 8:  # "the" may stand there a thousand times
        places.append(at)
        at = whole.find(wanted, at + 1)
    return [
        index
        for index, (start, end) in enumerate(spans)
        if any(start <= place < end for place in places)
    ]


def touched(spans: list[Span], start: int, end: int) -> list[int]:
    """Return the chunks that a stretch of the text touches."""
    return [index for index, (begin, stop) in enumerate(spans) if begin < end and start < stop]


def by_overlap(text: str, spans: list[Span], wanted: str) -> list[int]:
    """Return all chunks, those first that share most words with what is wanted."""
    words = _words(wanted)
    overlap = np.array([len(words & _words(text[start:end])) for start, end in spans], float)
    # Where as many words are shared, the earlier chunk comes first.
    return [int(index) for index in np.argsort(-overlap, kind="stable")]


def _words(text: str) -> set[str]:
    """Return the words of a text that are long enough to mean something."""
    return {word for word in re.findall(r"\w+", text.casefold()) if len(word) > 3}
