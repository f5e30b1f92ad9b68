"""Lookup: what stands beside these words? Any text answers that about itself.

A few words of the text say where, and what stands beside them, between them or around them is the
answer. Restating teaches to read soft tokens in their order; this teaches to read those that
matter, as a question does.
"""

import re
from typing import ClassVar, NamedTuple

import numpy as np

from e2llm.chunking.chunker import SENTENCE_END, Span, make_spans
from e2llm.training.data.records import Record
from e2llm.training.tasks.base import Draw, Others, Sample, Task, draw_window, one_of, text_of
from e2llm.training.tasks.conversation import ask
from e2llm.training.tasks.document import touched
from e2llm.training.tasks.reasoning import Expanding

# Most questions about one text.
QUESTIONS = 6
# Fewest and most words that say where, that are asked for, and of a sentence that is; neither of
# the first two is more than a quarter of the text.
CUE, ANSWER, SENTENCE = (4, 8), (1, 10), (8, 40)
# How often chunks also stand as text.
EXPANDED = 0.3
_AFTER = (
    "What comes after “{cue}”?",
    "Go on from “{cue}”.",
    "Which words follow “{cue}”?",
    "How does “{cue}” go on?",
)
_GAP = (
    "Fill the gap: “{cue} ____ {after}”",
    "Which words are missing in “{cue} ____ {after}”?",
    "“{cue} ____ {after}”: what stands in the gap?",
)
_SENTENCE = (
    "Quote the sentence with the words “{cue}”.",
    "Which sentence says “{cue}”?",
    "Where does it say “{cue}”? Quote the sentence.",
)


class _Question(NamedTuple):
    question: str
    answer: str
    place: int  # of the answer's first character
    cue: str  # as it stands in the text


class Lookup(Task):
    """Say what stands beside some words of the text."""

    name: ClassVar[str] = "lookup"
    kind: ClassVar[str] = "text"

    def make(self, record: Record, draw: Draw, others: Others) -> Sample | None:
        """Return a sample: a window of the record's text, and one to six questions about it.

        Words of the text are the answers.
        """
        rng = draw.rng
        text, _ = draw_window(text_of(record), draw)
        spans = make_spans(text, draw.processor.chunker)
        words = [match.span() for match in re.finditer(r"\S+", text)]
        if len(words) < 4 * CUE[0]:
            return None
        drawn = [
            _draw_question(text, words, rng) for _ in range(int(rng.integers(1, QUESTIONS + 1)))
        ]
        asked = [one for one in drawn if one is not None and text.count(one.cue) == 1]
        if not asked:
            return None
        expanded: list[int] = []
        if rng.random() < EXPANDED:
            held = touched(spans, asked[0].place, asked[0].place + 1)
            expanded = Expanding().expanded(text, spans, held, asked[0].question, draw)
        return ask(
            f"{record.source}/{record.id}",
            text,
            spans,
            expanded,
            [(one.question, one.answer) for one in asked],
            draw,
            self.taught,
        )


def _draw_question(text: str, words: list[Span], rng: np.random.Generator) -> _Question | None:
    """Draw words that say where, and what is asked for; None where the answer's length is bad."""
    n_cue, n_answer = (
        min(int(rng.integers(fewest, most + 1)), len(words) // 4) for fewest, most in (CUE, ANSWER)
    )
    first = int(rng.integers(0, len(words) - 2 * n_cue - n_answer + 1))
    cue = text[words[first][0] : words[first + n_cue - 1][1]]
    wordings = one_of(rng, (_AFTER, _GAP, _SENTENCE))
    wording = one_of(rng, wordings)
    if wordings is _SENTENCE:
        before = SENTENCE_END.finditer(text, 0, words[first][0] + 1)
        behind = SENTENCE_END.finditer(text, words[first + n_cue - 1][1] - 1)
        start = max((match.end() for match in before), default=0)
        stop = next((match.end() for match in behind), len(text))
        after = ""
    else:
        behind_cue, behind_answer = first + n_cue, first + n_cue + n_answer
        start, stop = words[behind_cue][0], words[behind_answer - 1][1]
        after = text[words[behind_answer][0] : words[behind_answer + n_cue // 2 - 1][1]]
    answer = _one_line(text[start:stop])
    if wordings is _SENTENCE and not SENTENCE[0] <= len(answer.split()) <= SENTENCE[1]:
        return None
    return _Question(wording.format(cue=_one_line(cue), after=_one_line(after)), answer, start, cue)


def _one_line(text: str) -> str:
    return " ".join(text.split())
