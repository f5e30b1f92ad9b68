"""What the styles of an OpenDocument file decide: lists, and hidden or raised text, page ends."""

import re
from dataclasses import dataclass
from typing import Any

from e2llm.documents.formats.office.line import LOWERED, RAISED
from e2llm.documents.formats.office.numbers import FORMATS, count
from e2llm.documents.formats.office.xml import NAMES, attribute, child, children

_N_LEVELS = 10
_MAX_PARENTS = 20
_FORMATS = {
    "1": "decimal",
    "a": "lowerLetter",
    "A": "upperLetter",
    "i": "lowerRoman",
    "I": "upperRoman",
    "": "none",
}


@dataclass(frozen=True)
class Look:
    """What a style decides.

    Attributes:
        hidden: Whether its text is.
        mark: `RAISED`, `LOWERED` or "".
        begins_page: Whether a paragraph begins a new page.
        ends_page: Whether it ends one.
        list_style: The list that its paragraphs are items of.
    """

    hidden: bool = False
    mark: str = ""
    begins_page: bool = False
    ends_page: bool = False
    list_style: str = ""


@dataclass(frozen=True)
class _Level:
    """One level of a list style; a bullet has no format."""

    format: str | None = None
    before: str = ""
    after: str = ""
    start: int = 1
    n_shown: int = 1


class OdfStyles:
    """The styles of one file.

    Args:
        roots: Its content and its styles, of which the first decides.
    """

    def __init__(self, roots: list[Any]) -> None:
        self._elements: dict[tuple[str, str], Any] = {}
        self._looks: dict[tuple[str, str], Look] = {}
        self.lists: dict[str, list[_Level]] = {}
        self.outline: list[_Level] = []
        for root in reversed(roots):
            for room in ("office:styles", "office:automatic-styles"):
                for style in children(child(root, room), "style:style"):
                    key = attribute(style, "family"), attribute(style, "name")
                    self._elements[key] = style
                for style in children(child(root, room), "text:list-style"):
                    self.lists[attribute(style, "name")] = _levels(style)
                for style in children(child(root, room), "text:outline-style"):
                    self.outline = _levels(style)

    def look(self, family: str, name: str) -> Look:
        """Return what a style and those above it decide."""
        key = family, name
        if key not in self._looks:
            chain: list[Any] = []
            at = self._elements.get(key)
            while at is not None and len(chain) < _MAX_PARENTS:
                chain.append(at)
                at = self._elements.get((family, attribute(at, "parent-style-name")))
            look = _look(chain)
            if len(self._looks) > 10_000:
                return look
            self._looks[key] = look
        return self._looks[key]


def _look(chain: list[Any]) -> Look:
    """Return what the first style of a chain decides that decides it."""

    def first(properties: str, name: str) -> str:
        for style in chain:
            found = child(style, f"style:{properties}-properties")
            if found is not None and (text := attribute(found, name)):
                return text
        return ""

    position = first("text", "text-position")
    mark = ""
    if position and not position.startswith(("0%", "0 ")):
        mark = LOWERED if position.startswith(("sub", "-")) else RAISED
    return Look(
        hidden=first("text", "display") == "none",
        mark=mark,
        begins_page=first("paragraph", "break-before") == "page",
        ends_page=first("paragraph", "break-after") == "page",
        list_style=next(filter(None, (attribute(style, "list-style-name") for style in chain)), ""),
    )


def _levels(style: Any) -> list[_Level]:
    """Return the levels of a list style or of the outline."""
    levels = [_Level()] * _N_LEVELS
    for level in style:
        at = _integer(attribute(level, "level"), 0) - 1
        kind = NAMES[level.tag]
        if 0 <= at < _N_LEVELS and kind in (
            "text:list-level-style-number",
            "text:outline-level-style",
        ):
            levels[at] = _Level(
                _FORMATS.get(attribute(level, "num-format"), "decimal"),
                attribute(level, "num-prefix"),
                attribute(level, "num-suffix"),
                _integer(attribute(level, "start-value"), 1),
                _integer(attribute(level, "display-levels"), 1),
            )
    return levels


def _integer(text: str, usual: int) -> int:
    return int(text) if re.fullmatch(r"\d{1,6}", text) else usual


class Counters:
    """The numbers that a list has come to.

    Args:
        levels: Its levels.
    """

    def __init__(self, levels: list[_Level]) -> None:
        self._levels = levels
        self._numbers: list[int | None] = [None] * _N_LEVELS

    def label(self, level: int, start: str = "") -> str:
        """Count one more item and return its label; "-" for a bullet, "" where it has none.

        Args:
            level: From 0.
            start: The number that the item itself asks for.
        """
        if not 0 <= level < len(self._levels):
            return "-"
        own = self._levels[level]
        count(self._numbers, level, [known.start for known in self._levels])
        if start:
            self._numbers[level] = _integer(start, own.start)
        if own.format is None:
            return "-"
        if own.format == "none":
            return f"{own.before}{own.after}".strip()
        first = max(level + 1 - own.n_shown, 0)
        numbers = [
            FORMATS[known.format](number or 0)
            for known, number in zip(
                self._levels[first : level + 1], self._numbers[first : level + 1], strict=True
            )
            if known.format is not None and known.format != "none"
        ]
        return f"{own.before}{'.'.join(numbers)}{own.after}".strip()
