"""Recall: say again keys that stand in a long text, letter by letter.

Sentences are put into a text, each giving somebody or something a key that nobody can guess, and
some of the keys are asked for in turn. That is the form of a needle in a haystack, with other
wordings, owners and keys than the benchmarks have.
"""

import re
import string
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from e2llm.chunking.chunker import make_spans
from e2llm.training.data.records import Record
from e2llm.training.tasks.base import Draw, Others, Sample, Task, draw_window, one_of, text_of
from e2llm.training.tasks.conversation import ask
from e2llm.training.tasks.document import touched

# Most keys in one text, and most that are asked for.
KEYS, ASKED = 8, 4
# Text tokens per soft token up to which a key may have to be read from soft tokens alone; above it
# its chunk also stands as text.
READABLE = 4
# How often it does so below, and most chunks that do.
EXPANDED, SHOWN = 0.5, 4
# fmt: off
_KINDS = (
    "locker number", "badge number", "room number", "phone number", "account number",
    "ticket number", "serial number", "order number", "password", "licence plate", "postal code",
    "passphrase", "call sign", "invoice number", "lucky number", "part number",
)
_OWNERS = (
    "Ada Kowalski", "Bruno Mbeki", "Chen Wei", "Dara Lindqvist", "Elif Demir", "Farid Haddad",
    "Greta Olsen", "Hugo Pereira", "Ines Castro", "Jonas Weber", "Keiko Tanaka", "Liam O'Connor",
    "Maya Rao", "Nils Berg", "Olga Petrova", "Pablo Ruiz", "Quinn Harper", "Rosa Conti",
    "the old lighthouse", "the north mill", "the city archive", "the blue ferry", "the night train",
    "the harbour office", "the third floor", "the museum shop", "the weather station",
    "the school library", "the river bridge", "the town brewery", "the printing house",
    "the red van",
)
_SYLLABLES = (
    "ba", "co", "di", "fen", "gor", "hal", "jin", "kel", "lo", "mar", "nu", "pil", "ras", "sto",
    "tam", "vel", "wic", "zor",
)
# fmt: on
_SENTENCES = (
    ("Remember that the {kind} for {owner} is {key}.", "Which {kind} is for {owner}?"),
    (
        "For {owner} the {kind} has been changed to {key}.",
        "What has the {kind} for {owner} been changed to?",
    ),
    ("{key} is the {kind} that belongs to {owner}.", "What {kind} belongs to {owner}?"),
    ("Note: {kind} of {owner}: {key}.", "Give the {kind} of {owner}."),
    (
        "Whoever asks for the {kind} of {owner} is told {key}.",
        "What is told to whoever asks for the {kind} of {owner}?",
    ),
)


class Recall(Task):
    """Answer with keys that stand in the text once."""

    name: ClassVar[str] = "recall"
    kind: ClassVar[str] = "text"

    def make(self, record: Record, draw: Draw, others: Others) -> Sample | None:
        """Return a sample: a window of the text with keys put in, and questions for some."""
        rng = draw.rng
        text, _ = draw_window(text_of(record), draw)
        places = [
            place
            for place, letter in enumerate(text)
            if letter in " \n" and text[place - 1 : place] in (".", "\n")
        ] or [len(text)]
        n_keys = int(rng.integers(1, KEYS + 1))
        # Sorted, so that what was put in before does not move what comes after.
        at = sorted(int(places[int(rng.integers(len(places)))]) for _ in range(n_keys))
        owners = rng.permutation(len(_OWNERS))[:n_keys]
        words = re.findall(r"[a-z]{4,9}", text) or list(_SYLLABLES)
        kind = one_of(rng, _KINDS)  # most often the same for all, so that the owner has to be read
        pieces, last, length = [], 0, 0
        facts: list[tuple[int, int, str, str]] = []  # start and end of a sentence, question, key
        for place, owner in zip(at, owners, strict=True):
            sentence, question = one_of(rng, _SENTENCES)
            fields = {
                "kind": kind if rng.random() < 0.7 else one_of(rng, _KINDS),
                "owner": _OWNERS[int(owner)],
                "key": draw_key(rng, words),
            }
            said = " " + sentence.format(**fields)
            pieces += [text[last:place], said]
            start = length + place - last
            length, last = start + len(said), place
            facts.append((start, length, question.format(**fields), fields["key"]))
        text = "".join([*pieces, text[last:]])
        spans = make_spans(text, draw.processor.chunker)
        asked = [
            facts[int(index)]
            for index in rng.permutation(n_keys)[: int(rng.integers(1, ASKED + 1))]
        ]
        readable = not isinstance(draw.ratio, str) and draw.ratio <= READABLE
        expanded: list[int] = []
        if not readable or rng.random() < EXPANDED:
            held: set[int] = set()
            shown: list[tuple[int, int, str, str]] = []
            for fact in asked:  # what would show too many chunks is not asked for
                more = held.union(touched(spans, *fact[:2]))
                if len(more) <= SHOWN or not shown:
                    held, shown = more, [*shown, fact]
            asked = shown
            beside = [int(index) for index in rng.permutation(len(spans)) if index not in held]
            expanded = sorted(
                [*held, *beside[: max(0, int(rng.integers(1, SHOWN + 1)) - len(held))]]
            )
        questions = [(question, key) for *_, question, key in asked]
        return ask(
            f"{record.source}/{record.id}", text, spans, expanded, questions, draw, self.taught
        )


def draw_key(rng: np.random.Generator, words: Sequence[str]) -> str:
    """Return a number of 2 to 9 digits, a code, or words, alone or with a number.

    The words are made up, or drawn from `words`.
    """
    number = "".join(str(digit) for digit in rng.integers(0, 10, int(rng.integers(2, 10))))
    letters = "".join(
        string.ascii_uppercase[int(letter)]
        for letter in rng.integers(0, 26, int(rng.integers(1, 4)))
    )
    made_up = " ".join(
        "".join(one_of(rng, _SYLLABLES) for _ in range(int(rng.integers(2, 4))))
        for _ in range(int(rng.integers(1, 3)))
    )
    drawn = " ".join(one_of(rng, words) for _ in range(int(rng.integers(2, 4))))
    return one_of(
        rng,
        (
            number,
            number,
            f"{letters}-{number[:4]}",
            made_up,
            f"{number[:4]} {made_up}",
            drawn,
            f"{drawn} {number[:4]}",
        ),
    )
