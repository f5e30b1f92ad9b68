"""Definitions: what is it, what does it do, when, how, why? A sentence of any text is the answer.

A sentence that says what something is, does or means is turned into the question that it answers,
and is the whole answer. It trains sentences where the records of questions have phrases alone.
"""

import re
from typing import ClassVar

from e2llm.chunking.chunker import make_spans
from e2llm.documents.words import split_words
from e2llm.training.data.records import Record
from e2llm.training.tasks.base import Draw, Others, Sample, draw_window, one_of, text_of
from e2llm.training.tasks.document import touched
from e2llm.training.tasks.passages import Asked, Passages, ask_passages

# Fewest and most words of a sentence, and most questions that are made of a text.
WORDS, MOST = (7, 42), 24
_SENTENCE = re.compile(
    r"(?:(?<=[.!?]\s)|(?<=\n)|^)[ \t]*(?P<own>[A-Z\"“`'](?:(?!\n\s*\n)[^|{}<>\\=])*?"
    r"[a-z\"'`)\]”’0-9]\.)(?=[\"')\]”’]{0,2}(?:\s+[A-Z\"“`'(]|\s*$|\s*\n\s*\n))",
    re.DOTALL,
)
# Words with which no subject begins, and words that are part of none.
_NO_SUBJECT = frozenset(
    split_words(
        "this these it its they their there he she we i you that those what which who in on at for "
        "if when while but and or some such one two as by here note all any both most many other "
        "others another however although because since so then thus therefore after before during "
        "with without from to not only even see our your his her my each either neither no"
    )
)
_NO_PART = frozenset(
    split_words(
        "is are was were be been that who whom which may can could must will would should shall "
        "has have had do does did to also often either never always only just still this it he she "
        "they you i reputedly and or if when where because than then later"
    )
)
_S = r"(?P<s>(?:(?:The|A|An) )?[\w\"'`*()./-]+(?: [\w\"'`*()./-]+){0,3}?)"
_DOES = split_words(
    "returns specifies defines creates allows provides causes removes terminates evaluates raises "
    "converts indicates determines enables represents describes holds sets controls tells deletes "
    "produces adds stores prevents ensures protects carries helps makes gives measures regulates "
    "increases reduces changes connects computes performs handles generates checks accepts "
    "contains executes marks sends takes transfers breaks supports restricts disables"
)
_VERBS = "|".join(_DOES)
_PLURAL = "|".join(verb[:-1] if not verb.endswith("ies") else verb[:-3] + "y" for verb in _DOES)
_DONE = r"(?P<p>(?:not |only |often |usually )?\w+(?:ed|en|wn|nt|lt|pt|de|ad|ld|und|ung|ut))"
# Each a pattern of a sentence and the questions that it answers.
_FORMS: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = tuple(
    (re.compile(pattern), questions)
    for pattern, questions in (
        (
            rf"^{_S} (?P<v>is|are) (?:mainly |often |commonly )?used (?:to|for|in|as)\b",
            ("What {v} {s} used for?", "What {v} {s} used for?", "Why would one use {s}?"),
        ),
        (rf"^{_S} (?:was|were|is|are) [^,.]+ because\b.*$", ("Why{because}?",)),
        (
            rf"^{_S} (?P<v>is|are) {_DONE} (?:only )?(?P<w>when|if|before|after|until|once)\b",
            ("When {v} {s} {p}?",),
        ),
        (
            rf"^{_S} (?P<v>is|are) {_DONE} (?:by|from|using|with|through|in|as|into)\b",
            ("How {v} {s} {p}?",),
        ),
        (rf"^{_S} can be {_DONE} (?:by|using|with|through|as|in)\b", ("How can {s} be {p}?",)),
        (
            rf"^{_S} (?P<v>is|are) (?:an?|the|one of|any|called|defined as|known as)\b",
            ("What {v} {s}?",) * 3 + ("What is meant by {s}?",),
        ),
        (rf"^{_S} (?:means|refers to)\b", ("What does {s} mean?",)),
        (rf"^{_S} (?:mean|refer to)\b", ("What do {s} mean?",)),
        (rf"^{_S} (?:{_VERBS})\b", ("What does {s} do?",)),
        (rf"^{_S} (?:{_PLURAL})\b", ("What do {s} do?",)),
        (
            r"^(?P<w>If|When) (?P<c>(?!(?:it|they|this|these|so|not|he|she|we) )[^,;.]{12,90}), ",
            ("What happens {w} {c}?",),
        ),
        (
            r"^To (?P<c>[a-z]+ [^,;.]{8,70}), (?:use|you|set|call|add|run|specify|one|we|it)\b",
            ("How do I {c}?", "How can I {c}?", "How does one {c}?"),
        ),
    )
)


class Definitions(Passages):
    """Say what something is, does or means, with a sentence of the passages."""

    name: ClassVar[str] = "definitions"
    kind: ClassVar[str] = "text"

    def make(self, record: Record, draw: Draw, others: Others) -> Sample | None:
        """Return a sample of the questions that sentences of a window answer; None without any."""
        text, _ = draw_window(text_of(record), draw)
        spans = make_spans(text, draw.processor.chunker)
        found: list[Asked] = []
        about: list[str] = []  # what each is a sentence about
        for match in _SENTENCE.finditer(text):
            sentence = " ".join(match["own"].split())
            asked = _question(sentence, text, draw)
            held = touched(spans, match.start("own"), match.end())
            if asked is not None and len(held) == 1 and len(found) < MOST:
                found.append(Asked(asked[1], sentence, held[0], frozenset(held)))
                about.append(asked[0])
        if not found:
            return None
        # Another sentence about the same may answer too.
        found = [
            own._replace(
                held=frozenset(
                    other.best for other, same in zip(found, about, strict=True) if same == subject
                )
            )
            for own, subject in zip(found, about, strict=True)
        ]
        order = [found[int(place)] for place in draw.rng.permutation(len(found))]
        return ask_passages(f"{record.source}/{record.id}", text, spans, order, draw)


def _question(sentence: str, text: str, draw: Draw) -> tuple[str, str] | None:
    """Return what a sentence is about, and the question that it answers; None where it is none."""
    if not WORDS[0] <= len(sentence.split()) <= WORDS[1] or sentence.count('"') % 2:
        return None
    for form, questions in _FORMS:
        match = form.search(sentence)
        if match is None:
            continue
        parts = match.groupdict()
        about = parts.get("s") or parts["c"]
        first = about.split()[0].strip("\"'`*(").lower()
        if parts.get("s") and (first in _NO_SUBJECT or not _is_subject(about, questions[0])):
            return None
        fields = {name: value for name, value in parts.items() if value}
        fields["s"] = _lowered(about, text)
        fields["w"] = fields.get("w", "").lower()
        question = one_of(draw.rng, questions)
        if "{because}" in question:
            return _because(sentence, fields["s"])
        return about.lower(), question.format(**fields)
    return None


def _is_subject(about: str, question: str) -> bool:
    """Tell whether words at the beginning of a sentence may well be its subject."""
    words = about.lower().split()
    many = question.startswith(("What do ", "What are "))
    return (
        not _NO_PART & set(words)
        and about.count("(") == about.count(")")
        and not words[-1].endswith(("'s", "’s", "ly", "ed"))
        and len(about) > 3
        and (not question.endswith(" do?") or words[-1].rstrip("`'\"*").endswith("s") == many)
    )


def _because(sentence: str, about: str) -> tuple[str, str] | None:
    """Turn "X is Y because Z" into "Why is X Y?"."""
    match = re.match(r"^.*? (was|were|is|are) ([^,.]{3,70}?),? because\b", sentence)
    return match and (about.lower(), f"Why {match[1]} {about} {match[2]}?")


def _lowered(about: str, text: str) -> str:
    """Write the beginning of a sentence as it reads within one."""
    word, _, rest = about.partition(" ")
    common = word in ("The", "A", "An") or f" {word.lower()} " in text
    common = common or (word.istitle() and rest != "" and rest == rest.lower())
    return f"{word.lower() if common else word} {rest}".strip()
