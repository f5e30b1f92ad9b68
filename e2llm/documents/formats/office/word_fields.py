"""Word's fields: of each its result is text, and its code is not."""

import re
from dataclasses import dataclass, field
from typing import Any

from e2llm.documents.formats.office.word_styles import integer
from e2llm.documents.formats.office.xml import attribute, child, children, is_on, value

PAGE_NUMBER = re.compile(r"\s*(PAGE|NUMPAGES|SECTIONPAGES)\b", re.IGNORECASE)
EQUATION = re.compile(r"\s*EQ\b", re.IGNORECASE)
_CHECKED, _UNCHECKED = "\u2612", "\u2610"


@dataclass
class _Field:
    """A field whose end was not met yet: its code, and whether its result has begun."""

    code: list[str] = field(default_factory=list)
    shows: bool = False


class Fields:
    """The fields that are open at a place, the outermost first."""

    def __init__(self) -> None:
        self._open: list[_Field] = []
        self._n_hiding = 0

    def __len__(self) -> int:
        return len(self._open)

    def hide(self) -> bool:
        """Say whether text at this place belongs to a field's code."""
        return self._n_hiding > 0

    def begin(self) -> None:
        """Open a field: its code follows."""
        self._open.append(_Field())
        self._n_hiding += 1

    def add_code(self, text: str) -> None:
        """Add a piece of the code of the innermost field."""
        if self._open:
            self._open[-1].code.append(text)

    def code(self) -> str:
        """Return the code of the innermost field."""
        return "".join(self._open[-1].code) if self._open else ""

    def show(self) -> None:
        """Say that the result of the innermost field follows."""
        if self._open and not self._open[-1].shows:
            self._open[-1].shows = True
            self._n_hiding -= 1

    def end(self) -> bool:
        """Close the innermost field; say whether it had a result."""
        if not self._open:
            return True
        closed = self._open.pop()
        self._n_hiding -= not closed.shows
        return closed.shows

    def end_paragraph(self, n_before: int) -> None:
        """Drop what a paragraph opened and of which it has no result, or it would hide the rest.

        Args:
            n_before: Number of fields that were open where the paragraph began.
        """
        opened = self._open[n_before:]
        showing = [known for known in opened if known.shows]
        if len(showing) < len(opened):
            self._open[n_before:] = showing
            self._n_hiding -= len(opened) - len(showing)


def form_value(data: Any) -> str:
    """Return what an old form's field holds where its text does not: a check box, a choice.

    Args:
        data: Its `w:ffData`.
    """
    box = child(data, "w:checkBox")
    if box is not None:
        checked = is_on(box, "w:checked")
        return _CHECKED if (is_on(box, "w:default") if checked is None else checked) else _UNCHECKED
    choices = child(data, "w:ddList")
    if choices is None:
        return ""
    entries = [attribute(entry, "val") for entry in children(choices, "w:listEntry")]
    chosen = integer(value(choices, "w:result") or value(choices, "w:default") or "0") or 0
    return entries[chosen] if 0 <= chosen < len(entries) else ""
