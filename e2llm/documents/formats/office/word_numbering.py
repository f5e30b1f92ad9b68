"""The numbers that Word draws before paragraphs and does not keep in their text."""

import re
from dataclasses import dataclass
from typing import Any

from e2llm.documents.formats.office.numbers import FORMATS, count
from e2llm.documents.formats.office.word_styles import integer
from e2llm.documents.formats.office.xml import attribute, children, is_on, value

N_LEVELS = 9
BULLET = "-"


@dataclass(frozen=True)
class Level:
    """One level of a list.

    Attributes:
        start: The first number.
        format: Word's name of how a number is written.
        text: The label, in which %1 is the number of the first level.
        style: The paragraph style that has this level.
        is_legal: Whether the numbers of all levels are digits.
    """

    start: int = 1
    format: str = "decimal"
    text: str = ""
    style: str = ""
    is_legal: bool = False


class Numbering:
    """The lists of a document, which count as it is read.

    Args:
        root: `word/numbering.xml`; None where there is none.
    """

    def __init__(self, root: Any) -> None:
        self._abstract: dict[str, list[Level]] = {}
        self._links: dict[str, str] = {}  # the style that a list without levels takes them from
        self._styled: dict[str, str] = {}  # the list that has a style's levels
        self._nums: dict[str, tuple[str, list[Level]]] = {}
        self._overrides: dict[tuple[str, int], int] = {}
        self._counters: dict[str, list[int | None]] = {}
        for element in children(root, "w:abstractNum"):
            id_ = attribute(element, "abstractNumId")
            self._abstract[id_] = _levels(element, [Level()] * N_LEVELS)
            self._links[id_] = value(element, "w:numStyleLink") or ""
            if style := value(element, "w:styleLink"):
                self._styled[style] = id_
        for element in children(root, "w:num"):
            self._add(attribute(element, "numId"), element)

    def _add(self, id_: str, element: Any) -> None:
        abstract = value(element, "w:abstractNumId") or ""
        abstract = self._styled.get(self._links.get(abstract, ""), abstract)
        if abstract not in self._abstract:
            return
        levels = self._abstract[abstract]
        for override in children(element, "w:lvlOverride"):
            levels = _levels(override, levels)
            start, at = value(override, "w:startOverride"), attribute(override, "ilvl")
            if start is not None and at.isdigit():
                self._overrides[id_, int(at)] = integer(start) or 0
        self._nums[id_] = (abstract, levels)

    def level_of(self, number: str, style: str) -> int | None:
        """Return the level of a list that belongs to a paragraph style; None where none does."""
        levels = self._nums.get(number, ("", []))[1]
        return next((at for at, level in enumerate(levels) if style and level.style == style), None)

    def label(self, number: str, level: int) -> str:
        """Count one more paragraph and return its label; "" where it has none.

        Args:
            number: The id of its list's numbers.
            level: Its level, from 0.
        """
        if number not in self._nums or not 0 <= level < N_LEVELS:
            return ""
        abstract, levels = self._nums[number]
        counters = self._counters.setdefault(abstract, [None] * N_LEVELS)
        first = self._overrides.pop((number, level), None)
        count(counters, level, [known.start for known in levels])
        if first is not None:
            counters[level] = first
        own = levels[level]
        if own.format == "bullet":
            return BULLET

        def written(match: re.Match[str]) -> str:
            at = int(match[1]) - 1
            drawn = "decimal" if own.is_legal else levels[at].format
            counter = counters[at]
            return FORMATS.get(drawn, str)(levels[at].start if counter is None else counter)

        return re.sub(r"%([1-9])", written, own.text).strip()


def _levels(element: Any, base: list[Level]) -> list[Level]:
    """Return nine levels: those that an element describes, and of `base` the others."""
    levels = [*base]
    for level in children(element, "w:lvl"):
        at = attribute(level, "ilvl")
        if not at.isdigit() or int(at) >= N_LEVELS:
            continue
        # Newer files write a format that older programs lack in a choice beside the older one.
        format_ = value(level, "w:numFmt") or value(
            level, "mc:AlternateContent", "mc:Choice", "w:numFmt"
        )
        levels[int(at)] = Level(
            start=integer(value(level, "w:start")) or 0,
            format=format_ or "decimal",
            text=value(level, "w:lvlText") or "",
            style=value(level, "w:pStyle") or "",
            is_legal=bool(is_on(level, "w:isLgl")),
        )
    return levels
