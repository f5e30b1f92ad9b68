"""Passages: answer from chunks of one document as text, or say at once that it is not there.

The prompt is that of a plan of text. Where no passage says what is asked the answer is empty: its
end comes first, so that the likelihood of an end in the first place tells what is missing. A
question for a name or a number has its short answer; one for more has the sentence that says it.
"""

import re
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from e2llm.chunking.chunker import Span, make_spans
from e2llm.documents.words import split_words
from e2llm.reading.prompt import Passage, answer_cue, join_spans, prompt_parts
from e2llm.reading.rendering import raw, render
from e2llm.training.data.records import QuestionRecord, Record
from e2llm.training.tasks.base import Draw, Others, Sample, Task, one_of
from e2llm.training.tasks.conversation import NAMES, RENDERED, add_turns, written_answer
from e2llm.training.tasks.document import SHORT, holding
from e2llm.training.tasks.loss import Loss, NegativeLogLikelihood, answer_logits, answer_loss

# Fewest and most chunks of a prompt, and most questions about them: of those that are answered, and
# of those that are not.
CHUNKS, ANSWERED, MISSED = (2, 5), 3, 2
# How often no passage answers the record's own question, and how often one is asked that belongs
# to another document.
MISSING, STRANGE = 0.25, 0.15
# Paragraphs of which a document is made where each has questions of its own.
PARAGRAPHS = 12
# Longest sentence that is an answer, in words, and of how many characters a place may be.
SENTENCE_WORDS, FURTHEST = 60, 400_000
# A first token weighs as much as so many more: whether an answer begins or ends there is decided
# by it alone.
FIRST = 3
# The end of a sentence whose lines may be wrapped anywhere.
_STOP = re.compile(r"[.!?][\"')\]”’]{0,2}(?=\s|$)|\n\s*\n")
_LINE_OR_STOP = re.compile(_STOP.pattern.replace(r"\n\s*\n", r"\n"))
_MORE = re.compile(
    r"^(why|how (?!many|much|long|old|far|often|big|large|tall|high|fast|deep|wide|late|early)|"
    r"what happen|what (does|do|did) .* (do|mean|cause)\W*$|what (makes|causes|caused|led)\b)",
    re.IGNORECASE,
)


class Asked(NamedTuple):
    """A question of a document.

    Attributes:
        question, answer: As they are read and written.
        best: The chunk that holds the answer, or begins it.
        held: Every chunk that may hold it.
    """

    question: str
    answer: str
    best: int
    held: frozenset[int]


class Passages(Task):
    """Answer from a few chunks as text; where they do not say it, the answer is empty."""

    name: ClassVar[str] = "passages"
    kind: ClassVar[str] = "question"

    def make(self, record: Record, draw: Draw, others: Others) -> Sample | None:
        """Return a sample of the record's question and others about the same text.

        None where no answer stands in the text in its own words.
        """
        assert isinstance(record, QuestionRecord)
        chunker, rng = draw.processor.chunker, draw.rng
        parts, about = {record.context: 0}, [record]
        if len(record.context) > PARAGRAPHS * chunker.size / 2:
            about += [own for own in others.about() if isinstance(own, QuestionRecord)]
        else:
            for _ in range(2 * PARAGRAPHS):
                other = others.near()
                assert isinstance(other, QuestionRecord)
                if len(parts) < PARAGRAPHS or other.context in parts:
                    parts.setdefault(other.context, 0)
                    about.append(other)
        text = ""
        for own in rng.permutation(len(parts)):
            part = [*parts][int(own)]
            parts[part] = len(text)
            text += part + "\n\n"
        spans = make_spans(text, chunker)
        later = [about[int(place)] for place in rng.permutation(np.arange(1, len(about)))]
        found = (
            find(text, spans, own, parts[own.context], draw)
            for own in (record, *later[: 3 * (ANSWERED + MISSED)])
        )
        asked = [own for own in found if own is not None]
        if not asked or asked[0].question != _question(record):
            return None
        stranger = others.next() if rng.random() < STRANGE else None
        if isinstance(stranger, QuestionRecord) and stranger.context not in parts:
            asked.append(Asked(_question(stranger), "", -1, frozenset()))
        return ask_passages(f"{record.source}/{record.id}", text, spans, asked, draw)

    def loss(self, model: Any, inputs: dict[str, Tensor]) -> Loss:
        """Return the negative log-likelihood, in which an answer's first token weighs more."""
        logits, labels = answer_logits(model, inputs), inputs["labels"]  # (n_labels, vocab)
        own, kept = answer_loss(logits, labels), labels != -100  # (batch, seq)
        begins = kept & ~F.pad(kept[:, :-1], (1, 0))  # (batch, seq)
        again = NegativeLogLikelihood.apply(logits[begins[kept]], labels[begins])
        return Loss(own.total + FIRST * again, own.n_items + FIRST * begins.sum())


def ask_passages(
    name: str, text: str, spans: list[Span], asked: list[Asked], draw: Draw
) -> Sample | None:
    """Return a sample: some chunks, chosen as for the first question, and questions about them.

    A question is unanswerable where none of the chunks that may hold its answer was chosen; one
    that only the wrong ones of them could answer is left out.
    """
    rng, processor, first = draw.rng, draw.processor, asked[0]
    n_chunks = min(int(rng.integers(CHUNKS[0], CHUNKS[1] + 1)), draw.n_chunks)
    missing = rng.random() < MISSING
    ranked = by_words(text, spans, first.question)
    chosen = [] if missing else [first.best]
    gone = first.held if missing else frozenset(chosen)
    chosen += [index for index in ranked if index not in gone][: n_chunks - len(chosen)]
    called, cue = one_of(rng, NAMES), answer_cue(processor)
    # Long documents count their characters further than what is read here.
    before = int(rng.integers(FURTHEST)) if rng.random() < 0.5 else 0
    form = partial(
        prompt_parts, soft=False, cue=cue, render=render if rng.random() < RENDERED else raw
    )

    def write(question: str) -> list[int]:
        passages = [
            Passage(called, text[start:end], before + start, before + end, None)
            for start, end in join_spans(spans, chosen)
        ]
        return processor.prompt_ids(form(question, [(called, 0)], passages))

    while len(write(first.question)) > draw.max_positions and len(chosen) > 1:
        chosen.pop()
    questions = _draw_questions(asked, set(chosen), missing, rng)
    if not questions:
        return None
    (question, answer), *later = questions
    prompt, ids = write(question), written_answer(processor, answer, draw)
    if len(prompt) > draw.max_positions or not ids:
        return None
    sample = Sample(name, prompt_ids=prompt, answer_ids=ids)
    add_turns(sample, later, draw, cue)
    return sample


def _draw_questions(
    asked: list[Asked], chosen: set[int], missing: bool, rng: np.random.Generator
) -> list[tuple[str, str]]:
    """Draw questions with their answers, in any order; those that are not answered have none."""
    answered = [(own.question, own.answer) for own in asked if own.best in chosen]
    missed = [(own.question, "") for own in asked if not own.held & chosen]
    if missing:  # the first of them is the hard one
        n_answered = int(rng.integers(0, ANSWERED))
        questions = missed[: int(rng.integers(1, MISSED + 1))] + answered[:n_answered]
    else:
        n_missed = int(rng.integers(0, MISSED))
        questions = answered[: int(rng.integers(1, ANSWERED + 1))] + missed[-n_missed:][:n_missed]
    return [questions[int(place)] for place in rng.permutation(len(questions))]


def find(
    text: str, spans: list[Span], record: QuestionRecord, start: int, draw: Draw
) -> Asked | None:
    """Find where a text answers a record; None where it does not in the record's words.

    Args:
        text, spans: The document and its chunks.
        record: The question.
        start: Where the record's own context begins in it.
        draw: Chance.
    """
    question, end = _question(record), start + len(record.context)
    ranked = by_words(text, spans, question)
    best, answer, whole = None, "", []
    for place in draw.rng.permutation(len(record.answers)):
        answer = record.answers[int(place)].strip()
        whole = holding(text, spans, answer)
        own = {index for index in whole if start <= spans[index][1] and spans[index][0] < end}
        best = next((index for index in ranked if index in own), None)
        if best is not None:
            break
    if best is None:
        return None
    if len(answer) > SHORT:
        answer = begin(answer)
    elif _MORE.match(question):
        at = text.casefold().find(answer.casefold(), max(start, spans[best][0]))
        answer = sentence_at(text, at, len(answer)) or answer
    if not answer or _folded(answer) not in _folded(text[spans[best][0] : spans[best][1]]):
        return None
    return Asked(question, answer, best, frozenset(whole))


def begin(answer: str) -> str:
    """Return the first sentence or two of a long answer, or nothing where it has none."""
    taken: list[str] = []
    at = 0
    for stop in _LINE_OR_STOP.finditer(answer):
        sentence = " ".join(answer[at : stop.end()].split()).lstrip("-*• ")
        at = stop.end()
        if not taken and (len(sentence.split()) < 5 or ":" in sentence or sentence[-1] not in ".!"):
            continue
        if sum(len(own.split()) for own in (*taken, sentence)) > SENTENCE_WORDS or len(taken) == 2:
            break
        taken.append(sentence)
    return " ".join(taken)


def sentence_at(text: str, at: int, length: int) -> str:
    """Return the sentence with these characters, in one line; nothing where it is too long."""
    start = max((stop.end() for stop in _STOP.finditer(text, 0, at)), default=0)
    stops = (stop.end() for stop in _STOP.finditer(text, max(at, at + length - 1)))
    sentence = " ".join(text[start : next(stops, len(text))].split())
    return sentence if len(sentence.split()) <= SENTENCE_WORDS else ""


def by_words(text: str, spans: list[Span], question: str) -> list[int]:
    """Return all chunks, those first that share most words with a question, rare ones above all."""
    words = [set(split_words(text[start:end])) for start, end in spans]
    wanted = set(split_words(question))
    n_holding = {word: sum(word in own for own in words) for word in wanted}
    rarity = {word: np.log(1 + len(spans) / (1 + n)) for word, n in n_holding.items()}
    shared = np.array([sum(rarity[word] for word in wanted & own) for own in words])
    return [int(index) for index in np.argsort(-shared, kind="stable")]


def _question(record: QuestionRecord) -> str:
    # MedQuAD's templates leave the number open.
    return " ".join(record.question.replace(" is (are) ", " is ").split())


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()
