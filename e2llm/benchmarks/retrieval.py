"""RULER's retrieval family: name the values of keys that sentences hidden in a text tell.

It is Hsieh et al.'s (2024). The eight tasks are data, `TASKS`, with the settings of RULER's
`scripts/synthetic.yaml`. What differs from it beside what `ruler` says: keys are made of our own
words, no key stands in a text twice, and an answer has room for one sentence with all the values,
where RULER gives it 128 tokens.
"""

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from typing import ClassVar

from e2llm.benchmarks.base import Sample
from e2llm.benchmarks.data import CHARS_PER_TOKEN, Data, repeat
from e2llm.benchmarks.needle import WORDS, sentence_start
from e2llm.benchmarks.ruler import Ruler
from e2llm.benchmarks.variable_tracking import NOISE, TOKENS_PER_NOISE

PAIRS = tuple(f"{first}-{second}" for first, second in permutations(WORDS, 2))
# Measured: a hidden sentence, by what its key and its value are.
TOKENS_PER_NEEDLE = {("words", "numbers"): 23, ("uuids", "uuids"): 80}
# Of an answer, beside the values; a value has at most as many tokens as characters.
SENTENCE_TOKENS = 32


@dataclass(frozen=True)
class Task:
    """One of RULER's tasks.

    Attributes:
        haystack: "noise" (sentences that say nothing), "text" (a long text), or "needles"
            (sentences like the one that is asked for).
        keys, values: "words", "numbers" or "uuids".
        n_keys, n_values: Hidden keys, and values of each.
        n_asked: Keys that are asked for.
    """

    haystack: str = "text"
    keys: str = "words"
    values: str = "numbers"
    n_keys: int = 1
    n_values: int = 1
    n_asked: int = 1


TASKS = {
    "niah-single-1": Task("noise"),
    "niah-single-2": Task(),
    "niah-single-3": Task(values="uuids"),
    "niah-multikey-1": Task(n_keys=4),
    "niah-multikey-2": Task("needles"),
    "niah-multikey-3": Task("needles", keys="uuids", values="uuids"),
    "niah-multivalue": Task(n_values=4),
    "niah-multiquery": Task(n_keys=4, n_asked=4),
}


class Retrieval(Ruler):
    """Name all values of the keys that are asked for."""

    task: ClassVar[Task]

    def make(self, n_tokens: int, rng: random.Random, data: Data) -> tuple[str, str, list[str]]:
        """Hide every value of every key at a place of its own."""
        task, n_others = self.task, 0
        if task.haystack == "needles":
            n_others = n_tokens // TOKENS_PER_NEEDLE[task.keys, task.values]
        keys = _draw(task.keys, task.n_keys + n_others, rng)
        values = _draw(task.values, task.n_keys * task.n_values + n_others, rng)
        own = {
            key: values[place * task.n_values : (place + 1) * task.n_values]
            for place, key in enumerate(keys[: task.n_keys])
        }
        needles = [_sentence(task, key, value) for key in own for value in own[key]]
        rng.shuffle(needles)
        if task.haystack == "text":
            text = _hidden(repeat(_haystack(data), n_tokens * CHARS_PER_TOKEN), needles, rng)
        else:
            others = [
                _sentence(task, key, value)
                for key, value in zip(keys[task.n_keys :], values[len(needles) :], strict=True)
            ]
            text = _among(others or [NOISE.strip()] * (n_tokens // TOKENS_PER_NOISE), needles, rng)
        asked = rng.sample(list(own), task.n_asked)
        answers = [value for key in asked for value in own[key]]
        several = len(answers) > 1
        kind = task.values if several else task.values.removesuffix("s")
        head = (
            f"{'Some' if several else 'A'} special magic {kind} {'are' if several else 'is'} "
            "hidden within the following text. Make sure to memorize it. I will quiz you about "
            f"the {kind} afterwards.\n"
        )
        query = asked[0] if len(asked) == 1 else f"{', '.join(asked[:-1])}, and {asked[-1]}"
        question = (
            f"What {'are all' if several else 'is'} the special magic {kind} for {query} "
            "mentioned in the provided text?"
        )
        return head + text, question, answers

    def longest_answer(self, sample: Sample) -> int:
        """Return room for one sentence with all the values."""
        return SENTENCE_TOKENS + sum(map(len, sample.answers))


RETRIEVAL: tuple[Ruler, ...] = tuple(
    type("Retrieval", (Retrieval,), {"name": name, "task": task})() for name, task in TASKS.items()
)

_MAKE: dict[str, Callable[[random.Random], str]] = {
    "words": lambda rng: rng.choice(PAIRS),
    "numbers": lambda rng: str(rng.randint(10**6, 10**7 - 1)),
    "uuids": lambda rng: str(uuid.UUID(int=rng.getrandbits(128), version=4)),
}


def _draw(kind: str, n: int, rng: random.Random) -> list[str]:
    """Draw different keys or values."""
    drawn: dict[str, None] = {}
    while len(drawn) < n:
        drawn[_MAKE[kind](rng)] = None
    return list(drawn)


def _sentence(task: Task, key: str, value: str) -> str:
    return f"One of the special magic {task.values} for {key} is: {value}."


def _hidden(text: str, needles: list[str], rng: random.Random) -> str:
    """Put sentences at places of a text where sentences begin."""
    places = sorted(sentence_start(text, rng.randrange(len(text) + 1)) for _ in needles)
    first, *others = [
        text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)
    ]
    return first + "".join(
        f" {needle} {piece.lstrip(' ')}" for needle, piece in zip(needles, others, strict=True)
    )


def _among(lines: list[str], needles: list[str], rng: random.Random) -> str:
    """Put sentences among the lines of a text."""
    # From the last on, so that no place moves.
    places = sorted(rng.sample(range(len(lines)), len(needles)), reverse=True)
    for place, needle in zip(places, needles, strict=True):
        lines.insert(place, needle)
    return "\n".join(lines)


@cache
def _haystack(data: Data) -> str:
    return data.haystack()[1]
