"""Dialogue: several questions about one document in one conversation.

A document that was read once so teaches more than one answer.
"""

from typing import ClassVar

from e2llm.training.data.records import QuestionRecord, Record
from e2llm.training.tasks.base import Draw, Others, Sample, Task, one_of
from e2llm.training.tasks.conversation import ask
from e2llm.training.tasks.document import draw_document, holding
from e2llm.training.tasks.reasoning import Expanding

# Most questions about one document.
QUESTIONS = 6
# How often chunks also stand as text.
EXPANDED = 0.3


class Dialogue(Task):
    """Answer up to six questions in turn, most often from soft tokens alone."""

    name: ClassVar[str] = "dialogue"
    kind: ClassVar[str] = "question"

    def make(self, record: Record, draw: Draw, others: Others) -> Sample | None:
        """Return a sample: the record's question, and others that the same document answers."""
        assert isinstance(record, QuestionRecord)
        first = one_of(draw.rng, record.answers)
        text, spans, held = draw_document(record, first, draw, others)
        whole, context = record.context in text, record.context.casefold()
        questions = [(record.question, first)]
        about = others.about()
        for place in draw.rng.permutation(len(about)):
            if len(questions) == QUESTIONS:
                break
            other = about[int(place)]
            assert isinstance(other, QuestionRecord)
            answer = one_of(draw.rng, other.answers)
            # An answer that stands in the whole document once is known to be answered by the part
            # that holds it.
            if whole or (context.count(answer.casefold()) == 1 and holding(text, spans, answer)):
                questions.append((other.question, answer))
        expanded: list[int] = []
        if draw.rng.random() < EXPANDED:
            expanded = Expanding().expanded(text, spans, held, record.question, draw)
        return ask(
            f"{record.source}/{record.id}", text, spans, expanded, questions, draw, self.taught
        )
