"""The text of one slide: its title, the text of its shapes, tables and diagrams, in their order."""

from dataclasses import dataclass, field
from typing import Any

from e2llm.documents.formats.office.blocks import Blocks, Row
from e2llm.documents.formats.office.drawings import described, diagram_text
from e2llm.documents.formats.office.equations import linear
from e2llm.documents.formats.office.left_out import LeftOut
from e2llm.documents.formats.office.line import LOWERED, RAISED, Line
from e2llm.documents.formats.office.numbers import FORMATS
from e2llm.documents.formats.office.package import Package
from e2llm.documents.formats.office.xml import NAMES, attribute, child, children

_TITLES = ("title", "ctrTitle")
# What stands on every slide, and says nothing of this one.
_REPEATED = ("sldNum", "dt", "hdr")
# Placeholders whose paragraphs are items of a list, where they do not say otherwise.
_BODIES = ("body", "obj", "")
_NUMBERS = {
    "arabic": "decimal",
    "alphaLc": "lowerLetter",
    "alphaUc": "upperLetter",
    "romanLc": "lowerRoman",
    "romanUc": "upperRoman",
}
_AROUND = {"Period": "{}.", "ParenR": "{})", "ParenBoth": "({})", "Plain": "{}"}
_MEDIA = ("a:videoFile", "a:audioFile", "a:wavAudioFile", "a:quickTimeFile")


@dataclass
class _Counter:
    """The numbers of a list's levels in one shape."""

    numbers: dict[int, int] = field(default_factory=dict)

    def next(self, level: int, start: int) -> int:
        """Count one more paragraph at a level; the levels below begin anew."""
        self.numbers = {known: n for known, n in self.numbers.items() if known <= level}
        self.numbers[level] = self.numbers.get(level, start - 1) + 1
        return self.numbers[level]

    def stop(self, level: int) -> None:
        """End the lists from a level on."""
        self.numbers = {known: n for known, n in self.numbers.items() if known < level}


class SlideReader:
    """Reads the slides of one file, each by its part.

    Args:
        package: The file's parts.
        left_out: What is not read, which is counted.
    """

    def __init__(self, package: Package, left_out: LeftOut) -> None:
        self.package = package
        self.left_out = left_out
        self._footers: set[str] = set()
        self._part = ""

    def read(self, part: str, root: Any) -> str:
        """Return the text of a slide; its title is a heading, and comes first."""
        self._part = part
        titles, blocks = Blocks(), Blocks()
        tree = child(root, "p:cSld", "p:spTree")
        self._shapes(() if tree is None else tree, titles, blocks)
        titles.extend(blocks)
        return titles.text()

    def notes(self, part: str) -> str:
        """Return what the speaker noted at a slide."""
        texts = []
        for name in self.package.related(part, "notesSlide"):
            root, blocks = self.package.part(name), Blocks()
            tree = child(root, "p:cSld", "p:spTree")
            for shape in children(tree, "p:sp"):
                text = child(shape, "p:txBody")
                if _placeholder(shape) == "body" and text is not None:
                    self._paragraphs(text, blocks, is_list=False)
            texts.append(blocks.text())
        return "\n\n".join(filter(None, texts))

    def _shapes(self, tree: Any, titles: Blocks, blocks: Blocks) -> None:
        for shape in tree:
            name = NAMES[shape.tag]
            if name == "p:sp":
                self._shape(shape, titles, blocks)
            elif name == "p:grpSp":
                self._shapes(shape, titles, blocks)
            elif name == "p:pic":
                self._picture(shape, blocks)
            elif name == "p:graphicFrame":
                self._frame(shape, blocks)
            elif name == "mc:AlternateContent":
                choice = child(shape, "mc:Choice")
                choice = child(shape, "mc:Fallback") if choice is None else choice
                self._shapes(() if choice is None else choice, titles, blocks)

    def _shape(self, shape: Any, titles: Blocks, blocks: Blocks) -> None:
        kind = _placeholder(shape)
        text = child(shape, "p:txBody")
        if kind in _REPEATED or text is None:
            return
        if kind in _TITLES:
            inner = Blocks()
            self._paragraphs(text, inner, is_list=False)
            titles.heading(inner.flat(), 1)
        elif kind == "ftr":
            inner = Blocks()
            self._paragraphs(text, inner, is_list=False)
            if inner.flat() not in self._footers:
                self._footers.add(inner.flat())
                blocks.extend(inner)
        else:
            self._paragraphs(text, blocks, is_list=kind in _BODIES)

    def _picture(self, shape: Any, blocks: Blocks) -> None:
        properties = child(shape, "p:nvPicPr", "p:nvPr")
        is_media = properties is not None and any(
            NAMES[inner.tag] in _MEDIA for inner in properties
        )
        self.left_out.counts["sound or film" if is_media else "picture"] += 1
        if words := described(shape):
            blocks.add(f"[picture: {words}]")

    def _frame(self, frame: Any, blocks: Blocks) -> None:
        """Read a table or a diagram; count a chart or another thing."""
        data = child(frame, "a:graphic", "a:graphicData")
        for inner in () if data is None else data:
            name = NAMES[inner.tag]
            if name == "a:tbl":
                self._table(inner, blocks)
            elif name == "dgm:relIds":
                root = self.package.part(self.package.target(self._part, attribute(inner, "dm")))
                texts = [] if root is None else diagram_text(root)
                for text in texts:
                    blocks.add(f"- {text}", tight=True)
                self.left_out.counts["diagram"] += not texts
            else:
                is_chart = name in ("c:chart", "cx:chart")
                self.left_out.counts["chart" if is_chart else "embedded object"] += 1
                if words := described(frame):
                    blocks.add(f"[{'chart' if is_chart else 'object'}: {words}]")

    def _table(self, table: Any, blocks: Blocks) -> None:
        properties = child(table, "a:tblPr")
        has_header = properties is not None and attribute(properties, "firstRow") in ("1", "true")
        rows = []
        for number, row in enumerate(children(table, "a:tr")):
            cells = []
            for cell in children(row, "a:tc"):
                inner = Blocks()
                text = child(cell, "a:txBody")
                covered = {attribute(cell, "hMerge"), attribute(cell, "vMerge")} & {"1", "true"}
                if text is not None and not covered:
                    self._paragraphs(text, inner, is_list=False)
                cells.append(inner)
            rows.append(Row(cells, has_header and number == 0))
        blocks.table(rows)

    def _paragraphs(self, body: Any, blocks: Blocks, is_list: bool) -> None:
        paragraphs = [*children(body, "a:p")]
        is_list = is_list and len(paragraphs) > 1
        counter = _Counter()
        for paragraph in paragraphs:
            text = _line(paragraph).text().strip()
            if not text:
                continue
            label = _label(child(paragraph, "a:pPr"), is_list, counter)
            blocks.add(label + text, tight=bool(label))


def _label(properties: Any, is_list: bool, counter: _Counter) -> str:
    """Return the bullet or number that is drawn before a paragraph, with its indent."""
    level, drawn = 0, None
    if properties is not None:
        level = int(attribute(properties, "lvl", "0")) if _is_digit(properties, "lvl") else 0
        found = (inner for inner in properties if NAMES[inner.tag].startswith("a:bu"))
        drawn = next((inner for inner in found if NAMES[inner.tag] in _BULLETS), None)
    kind = NAMES[drawn.tag] if drawn is not None else ""
    if kind == "a:buAutoNum":
        scheme = attribute(drawn, "type")
        start = int(attribute(drawn, "startAt", "1")) if _is_digit(drawn, "startAt") else 1
        format_ = next((name for name in _NUMBERS if scheme.startswith(name)), "arabic")
        around = next((form for end, form in _AROUND.items() if scheme.endswith(end)), "{}.")
        number = FORMATS[_NUMBERS[format_]](counter.next(level, start))
        return around.format(number) + " "
    counter.stop(level)
    if kind == "a:buNone" or not (kind or is_list or level):
        return ""
    return "  " * min(level, 8) + "- "


_BULLETS = ("a:buAutoNum", "a:buChar", "a:buBlip", "a:buNone")


def _is_digit(element: Any, name: str) -> bool:
    text = attribute(element, name)
    return text.isascii() and text.isdigit() and len(text) < 6


def _placeholder(shape: Any) -> str | None:
    """Return what a shape holds the place of; None where it is no placeholder."""
    place = child(shape, "p:nvSpPr", "p:nvPr", "p:ph")
    return None if place is None else attribute(place, "type")


def _line(paragraph: Any) -> Line:
    line = Line()
    _walk(paragraph, line)
    return line


def _walk(element: Any, line: Line) -> None:
    for inner in element:
        name = NAMES[inner.tag]
        if name in ("a:r", "a:fld"):
            text, properties = child(inner, "a:t"), child(inner, "a:rPr")
            shift = "" if properties is None else attribute(properties, "baseline")
            mark = "" if shift in ("", "0", "0%") else LOWERED if shift[0] == "-" else RAISED
            line.add("" if text is None else text.text or "", mark)
        elif name == "a:br":
            line.add("\n")
        elif name == "m:oMath":
            line.add(linear(inner).strip())
        elif name == "mc:AlternateContent":
            choice = child(inner, "mc:Choice")
            choice = child(inner, "mc:Fallback") if choice is None else choice
            _walk(() if choice is None else choice, line)
        elif name not in ("", "a:pPr", "a:endParaRPr"):
            _walk(inner, line)
