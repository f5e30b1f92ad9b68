"""What Word's styles say that a reader must know: headings, lists, and what is hidden or raised."""

from dataclasses import dataclass
from typing import Any

from e2llm.documents.formats.office.line import LOWERED, RAISED
from e2llm.documents.formats.office.xml import attribute, child, children, is_on, value

# A style is based on another, which is based on another ...: Word stops after eleven.
_MAX_BASES = 20
# Half points by which text is moved up or down before it reads as raised or lowered.
_RAISED_BY = 4
_MARKS = {"superscript": RAISED, "subscript": LOWERED, "baseline": ""}


@dataclass(frozen=True)
class Look:
    """What a style, or a run's or paragraph's own properties, decide; None leaves it open.

    Attributes:
        hidden: Whether its text is.
        mark: `RAISED`, `LOWERED`, or "" for neither.
        outline: The level of a heading from 0; 9 is text.
        number: The id of its list's numbers; "0" for none.
        level: Its level in that list, from 0.
        begins_page: Whether a paragraph stands at the top of a new page.
    """

    hidden: bool | None = None
    mark: str | None = None
    outline: int | None = None
    number: str | None = None
    level: int | None = None
    begins_page: bool | None = None

    def over(self, base: "Look") -> "Look":
        """Return this look where it decides, and `base` where it does not."""
        if self is PLAIN or base is PLAIN:
            return base if self is PLAIN else self
        pairs = ((getattr(self, name), getattr(base, name)) for name in Look.__dataclass_fields__)
        return Look(*(under if own is None else own for own, under in pairs))


PLAIN = Look()


def run_look(properties: Any) -> Look:
    """Return what a `w:rPr` decides; None stands for one that is not there."""
    if properties is None or not len(properties):
        return PLAIN
    mark = _MARKS.get(value(properties, "w:vertAlign") or "")
    if mark is None:
        position = integer(value(properties, "w:position")) or 0
        if abs(position) >= _RAISED_BY:
            mark = RAISED if position > 0 else LOWERED
    return Look(is_on(properties, "w:vanish"), mark)


def paragraph_look(properties: Any) -> Look:
    """Return what a `w:pPr` decides; None stands for one that is not there."""
    if properties is None:
        return PLAIN
    return Look(
        outline=integer(value(properties, "w:outlineLvl")),
        number=value(properties, "w:numPr", "w:numId"),
        level=integer(value(properties, "w:numPr", "w:ilvl")),
        begins_page=is_on(properties, "w:pageBreakBefore"),
    )


def integer(text: str | None) -> int | None:
    """Return the number that an attribute says; None where it says none."""
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


class Styles:
    """The styles of a document by their ids.

    Args:
        root: `word/styles.xml`; None where there is none.
    """

    def __init__(self, root: Any) -> None:
        self._elements: dict[str, Any] = {}
        self._looks: dict[str, Look] = {}
        self.names: dict[str, str] = {}
        self.default = ""  # the style of a paragraph that names none
        for style in children(root, "w:style"):
            id_ = attribute(style, "styleId")
            self._elements[id_] = style
            self.names[id_] = (value(style, "w:name") or id_).lower()
            if attribute(style, "type") == "paragraph" and attribute(style, "default") in (
                "1",
                "true",
            ):
                self.default = id_

    def look(self, id_: str) -> Look:
        """Return what a style decides, with the styles that it is based on."""
        if id_ not in self._looks:
            look, at = PLAIN, id_
            for _ in range(_MAX_BASES):
                style = self._elements.get(at)
                if style is None:
                    break
                own = run_look(child(style, "w:rPr")).over(paragraph_look(child(style, "w:pPr")))
                look = look.over(own)
                at = value(style, "w:basedOn") or ""
            if len(self._looks) < 10_000:
                self._looks[id_] = look
            return look
        return self._looks[id_]
