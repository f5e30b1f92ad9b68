"""Reasoning: answer a question from the soft tokens of a document (paper section 3.2), with some
chunks also standing as text.

The prompt is the one that `E2LLM.ask` builds. The expanded chunks are chosen by word overlap with
question and answer, now and then without the one that holds the answer, as the ranking at the time
of asking may miss it too.
"""

import re
from typing import ClassVar

import numpy as np

from e2llm.chunking.chunker import Span, make_spans
from e2llm.reading.prompt import (
    Passage,
    answer_cue,
    answer_text,
    join_spans,
    later_question,
    prompt_parts,
)
from e2llm.training.data.records import QuestionRecord, Record
from e2llm.training.tasks.base import Draw, Others, Sample, Task, answer_ids, one_of, prepare

# How often the chunk that holds the answer is not among the expanded ones.
MISSED = 0.3
# Longest answer, in characters, that is a phrase of the document and no summary.
SHORT = 200
_NAMES = ("document", "report", "notes", "text", "page", "file", "article", "paper")


class Reasoning(Task):
    """Answer from soft tokens alone."""

    name: ClassVar[str] = "reasoning"
    kind: ClassVar[str] = "question"

    def make(self, record: Record, draw: Draw, others: Others) -> Sample | None:
        """Return a sample: the prompt of `E2LLM.ask`, and one of the record's answers."""
        assert isinstance(record, QuestionRecord)
        answer = one_of(draw.rng, record.answers)
        text, spans, held = draw_document(record, answer, draw, others)
        expanded = self.expanded(text, spans, held, record.question, draw)
        return ask(
            f"{record.source}/{record.id}",
            text,
            spans,
            expanded,
            [(record.question, answer)],
            draw,
            self.taught,
        )

    def expanded(
        self, text: str, spans: list[Span], held: list[int], question: str, draw: Draw
    ) -> list[int]:
        """Return the chunks that also stand as text; none here."""
        return []


class Expanding(Reasoning):
    """Answer from soft tokens and the text of one to four chunks: what `expand` does when
    answering.
    """

    name: ClassVar[str] = "expanding"

    def expanded(
        self, text: str, spans: list[Span], held: list[int], question: str, draw: Draw
    ) -> list[int]:
        """Return one to four chunks, most often with the one that holds the answer among them."""
        n_wanted = min(int(draw.rng.integers(1, 5)), len(spans))
        ranked = by_overlap(text, spans, question)
        if draw.rng.random() < MISSED:
            ranked = [index for index in ranked if index not in held] or ranked
        else:
            ranked = held[:2] + [index for index in ranked if index not in held[:2]]
        return ranked[:n_wanted]


def ask(
    name: str,
    text: str,
    spans: list[Span],
    expanded: list[int],
    questions: list[tuple[str, str]],
    draw: Draw,
    taught: bool,
) -> Sample:
    """Return a sample: the prompt of `E2LLM.ask` with the first question and its answer, and the
    others as turns after it.

    Args:
        name: What messages call it.
        text, spans: The document and its chunks.
        expanded: Which chunks also stand as text.
        questions: Questions with their answers. Those after the first are left out from where they
            and their answers would take more than `max_answer_tokens` in all.
        draw: Bounds.
        taught: Whether the teacher's prompt is wanted too.
    """
    processor, cue = draw.processor, answer_cue(draw.processor)
    (question, answer), *later = questions
    called = one_of(draw.rng, _NAMES)
    passages = [
        Passage(called, text[start:end], start, end, None)
        for start, end in join_spans(spans, expanded)
    ]
    around = len(processor.prompt_ids(prompt_parts(question, [(called, 0)], passages, cue=cue)))
    compressed = prepare(text, spans, draw, max(1, draw.max_positions - around))
    prompt = processor.prompt_ids(
        prompt_parts(question, [(called, compressed.n_soft)], passages, cue=cue)
    )
    sample = Sample(
        name,
        compressed.rows,
        compressed.soft_ids,
        prompt,
        answer_ids(processor, answer_text(processor, answer), draw),
    )
    free = draw.max_answer_tokens - len(sample.answer_ids)
    for asked, answered in later:
        begin, (_, end) = processor.later_turn_ids(), processor.turn_ids()
        turn = (
            [*begin, *processor.text_ids(later_question(asked, cue)), *end],
            answer_ids(processor, answer_text(processor, answered), draw),
        )
        free -= len(turn[0]) + len(turn[1])
        if free < 0:
            break
        sample.turns.append(turn)
    if taught:
        whole = [Passage(called, text, 0, len(text), None)]
        sample.teacher_ids = processor.prompt_ids(
            prompt_parts(question, [(called, 0)], whole, soft=False, cue=cue)
        )
    return sample


def draw_document(
    record: QuestionRecord, answer: str, draw: Draw, others: Others
) -> tuple[str, list[Span], list[int]]:
    """Return a document of about `n_chunks` chunks, its spans, and which of them hold the answer.

    A longer context is cut around the answer where it holds it in words (so that a long answer
    stands at its start), around the chunk that shares most words with question and answer where a
    short answer is in other words, and kept whole for a long one (a summary); a shorter one stands
    among other contexts of its source.
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
    if not wanted or len(whole) != len(text):
        return []
    places: list[int] = []
    at = whole.find(wanted)
    while at >= 0 and len(places) < 8:
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
    return [int(index) for index in np.argsort(-overlap, kind="stable")]


def _words(text: str) -> set[str]:
    return {word for word in re.findall(r"\w+", text.casefold()) if len(word) > 3}
