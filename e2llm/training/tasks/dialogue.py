"""Dialogue: several questions about one document in one conversation, so that a document that was
read once teaches more than one answer.
"""

from typing import ClassVar

from e2llm.training.data.records import QuestionRecord, Record
from e2llm.training.tasks.base import Draw, Others, Sample, Task, one_of
from e2llm.training.tasks.reasoning import Expanding, ask, draw_document, holding

# Most questions about one document.
QUESTIONS = 6
# How often chunks also stand as text.
EXPANDED = 0.3


class Dialogue(Task):
    """Answer up to six questions in turn, most often from soft tokens alone."""

    name: ClassVar[str] = "dialogue"
    kind: ClassVar[str] = "question"

    def make(self, record: Record, draw: Draw, others: Others) -> Sample | None:
        """Return a sample: the record's question, and others whose answers stand in the same
        document.
        """
        assert isinstance(record, QuestionRecord)
        first = one_of(draw.rng, record.answers)
        text, spans, held = draw_document(record, first, draw, others)
        whole = record.context in text
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
            if whole or (
                holding(text, spans, answer)
                and record.context.casefold().count(answer.casefold()) == 1
            ):
                questions.append((other.question, answer))
        expanded = (
            Expanding().expanded(text, spans, held, record.question, draw)
            if draw.rng.random() < EXPANDED
            else []
        )
        return ask(
            f"{record.source}/{record.id}", text, spans, expanded, questions, draw, self.taught
        )
