"""Reasoning: answer a question from soft tokens (paper section 3.2).

Some chunks may also stand as text. They are chosen by word overlap with question and answer, now
and then without the one that holds the answer, as the ranking at the time of asking may miss it.
"""

from typing import ClassVar

from e2llm.chunking.chunker import Span
from e2llm.training.data.records import QuestionRecord, Record
from e2llm.training.tasks.base import Draw, Others, Sample, Task, one_of
from e2llm.training.tasks.conversation import ask
from e2llm.training.tasks.document import by_overlap, draw_document

# How often the chunk that holds the answer is not among the expanded ones.
MISSED = 0.3


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
    """Answer from soft tokens and the text of one to four chunks, as with `expand`."""

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
