"""The text of one part of a Word file: its body, a header, a note.

The XML is walked once, and each element is met once: what is nested in text boxes, tables, fields
and content controls is read where it stands. How deep they nest is bounded by the parser.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from e2llm.documents.formats.office.blocks import Blocks, Row
from e2llm.documents.formats.office.drawings import described, diagram_text
from e2llm.documents.formats.office.equations import linear
from e2llm.documents.formats.office.line import Line
from e2llm.documents.formats.office.symbols import LOST, is_private, symbol
from e2llm.documents.formats.office.word_fields import EQUATION, PAGE_NUMBER, Fields, form_value
from e2llm.documents.formats.office.word_numbering import BULLET
from e2llm.documents.formats.office.word_shared import Shared
from e2llm.documents.formats.office.word_styles import PLAIN, Look, paragraph_look, run_look
from e2llm.documents.formats.office.word_tables import rows_of
from e2llm.documents.formats.office.xml import NAMES, attribute, child, is_on, value

# What is no part of the text as it stands: deletions, the old place of what moved, properties, the
# codes of fields, the pronunciation beside a word, copies for old programs.
_SKIPPED = {
    *("w:del", "w:moveFrom", "w:delText", "w:delInstrText", "w:rPr", "w:pPr", "w:sdtPr"),
    *("w:sdtEndPr", "w:tblPr", "w:tblPrEx", "w:tblGrid", "w:trPr", "w:tcPr", "w:sectPr"),
    *("w:rt", "w:rubyPr", "mc:Fallback", "w:fldData"),
}
_HEADING = re.compile(r"heading ([1-9])")
_LIST_OF_PAGES = re.compile(r"toc \d|table of figures|index \d")
_EQUATION_PROGRAM = re.compile(r"Equation|MathType", re.IGNORECASE)
# What stands around a page's number, such as "Page 3 of 7", is shorter.
_PAGE_WORDS_CHARS = 14


@dataclass
class _Paragraph:
    """A paragraph while it is read."""

    look: Look
    line: Line = field(default_factory=Line)
    boxes: Blocks = field(default_factory=Blocks)
    before: int = 0  # pages that end before its text
    after: int = 0  # and behind the start of it
    has_page_field: bool = False

    def end_page(self) -> None:
        """A page ends here."""
        if self.line.has_text():
            self.after += 1
        else:
            self.before += 1


class Walker:
    """Reads one part.

    Args:
        shared: What it has in common with the file's other parts.
        part: Its name.
        is_margin: Whether it is a header or footer, in which pages' numbers are left out.
    """

    def __init__(self, shared: Shared, part: str, is_margin: bool = False) -> None:
        self.shared = shared
        self.part = part
        self.is_margin = is_margin
        self.sections: list[Any] = []
        self._look = PLAIN
        self._font_of: Any = None
        self._fields = Fields()
        self._carried = ""
        self._inner: dict[str, Callable[[Any, _Paragraph], None]] = {
            "w:t": self._text,
            "a:t": self._text,
            "w:r": self._run,
            "w:tab": lambda e, p: self._add(p, "\t"),
            "w:ptab": lambda e, p: self._add(p, "\t"),
            "w:cr": lambda e, p: self._add(p, "\n"),
            "w:noBreakHyphen": lambda e, p: self._add(p, "-"),
            "w:br": self._break,
            "w:lastRenderedPageBreak": lambda e, p: p.end_page(),
            "w:sym": self._symbol,
            "w:footnoteReference": lambda e, p: self._note("footnote", e, p),
            "w:endnoteReference": lambda e, p: self._note("endnote", e, p),
            "w:fldChar": self._field_mark,
            "w:fldSimple": self._simple_field,
            "w:instrText": self._field_code,
            "m:oMath": self._equation,
            "w:drawing": self._drawing,
            "w:pict": self._drawing,
            "w:object": self._object,
            "w:txbxContent": lambda e, p: self.read(e, p.boxes),
            "w:tbl": lambda e, p: self._table(e, p.boxes),
            "mc:AlternateContent": self._choice,
            "v:textpath": lambda e, p: self._add(p, attribute(e, "string")),
            "v:imagedata": lambda e, p: self._count("picture"),
            "pic:pic": lambda e, p: self._count("picture"),
            "c:chart": lambda e, p: self._count("chart"),
            "cx:chart": lambda e, p: self._count("chart"),
            "dgm:relIds": self._diagram,
        }

    def read(self, element: Any, blocks: Blocks) -> None:
        """Add the paragraphs and tables in an element to `blocks`."""
        for inner in element:
            name = NAMES[inner.tag]
            if name == "w:p":
                if len(inner):
                    self._paragraph(inner, blocks)
            elif name == "w:tbl":
                self._table(inner, blocks)
            elif name == "m:oMathPara":
                blocks.add(linear(inner))
            elif name == "w:sectPr":
                self.sections.append(inner)
            elif name in ("w:altChunk", "w:subDoc"):
                self._count("inserted file")
            elif name == "mc:AlternateContent":
                self.read(_chosen(inner), blocks)
            elif name and name not in _SKIPPED:
                self.read(inner, blocks)
        if self._carried:  # the last paragraph had no next one
            blocks.add(self._carried)
            self._carried = ""

    def _paragraph(self, element: Any, blocks: Blocks) -> None:
        properties = child(element, "w:pPr")
        styles = self.shared.styles
        style = (value(properties, "w:pStyle") if properties is not None else "") or styles.default
        own = paragraph_look(properties)
        paragraph = _Paragraph(own.over(styles.look(style)))

        carried, self._carried = self._carried, ""
        outer, n_fields = self._look, len(self._fields)
        self._look = paragraph.look
        self._walk(element, paragraph)
        self._look = outer
        self._fields.end_paragraph(n_fields)

        text = carried + paragraph.line.text()
        if self._begins_page(paragraph, blocks):
            blocks.end_page(max(paragraph.before, 1))
        mark = None if properties is None else child(properties, "w:rPr")
        if mark is not None and child(mark, "w:del") is not None:
            self._carried = text  # the next paragraph goes on from it
        elif not (paragraph.has_page_field and _is_page_number(text)):
            is_drawn = text.strip() or mark is None or not is_on(mark, "w:vanish")
            label = self._label(own, style) if is_drawn else ""
            self._write(text, label, paragraph.look, style, blocks)
        blocks.extend(paragraph.boxes)
        section = None if properties is None else child(properties, "w:sectPr")
        if section is not None:
            self.sections.append(section)
            on_page = value(section, "w:type") in ("continuous", "nextColumn")
            paragraph.after += not (on_page or self.shared.has_rendered)
        blocks.end_page(paragraph.after)

    def _begins_page(self, paragraph: _Paragraph, blocks: Blocks) -> bool:
        if paragraph.before:
            return True
        begins = paragraph.look.begins_page and not self.shared.has_rendered
        return bool(begins) and not blocks.is_empty()

    def _label(self, own: Look, style: str) -> str:
        """Return the number that is drawn before a paragraph, which counts it."""
        base = self.shared.styles.look(style)
        number = base.number if own.number is None else own.number
        if number in (None, "0"):
            return ""
        level = own.level
        if level is None:
            level = self.shared.numbering.level_of(str(number), style)
        return self.shared.numbering.label(
            str(number), (base.level or 0) if level is None else level
        )

    def _write(self, text: str, label: str, look: Look, style: str, blocks: Blocks) -> None:
        """Add a paragraph as what it is: a heading, an item, a line of contents, or text."""
        if not text.strip():
            return
        name = self.shared.styles.names.get(style, "")
        outline = look.outline
        if outline is None and (match := _HEADING.fullmatch(name)):
            outline = int(match[1]) - 1
        if name == "title" and outline is None:
            outline = 0
        if outline is not None and 0 <= outline < 9:
            blocks.heading(f"{label} {text}" if label != BULLET else text, outline + 1)
        elif label:
            blocks.item(label, text, look.level or 0)
        else:
            blocks.add(text, tight=_LIST_OF_PAGES.fullmatch(name) is not None)

    def _walk(self, element: Any, paragraph: _Paragraph) -> None:
        for inner in element:
            name = NAMES[inner.tag]
            handle = self._inner.get(name)
            if handle is not None:
                handle(inner, paragraph)
            elif name == "w:p":  # in what is not known to hold paragraphs
                self._paragraph(inner, paragraph.boxes)
            elif name and name not in _SKIPPED:
                self._walk(inner, paragraph)

    def _run(self, element: Any, paragraph: _Paragraph) -> None:
        outer = self._look, self._font_of
        properties = child(element, "w:rPr")
        self._font_of = properties
        if properties is not None and len(properties):
            look = run_look(properties)
            if style := value(properties, "w:rStyle"):
                look = look.over(self.shared.styles.look(style))
            self._look = look.over(paragraph.look)
        self._walk(element, paragraph)
        self._look, self._font_of = outer

    def _add(self, paragraph: _Paragraph, text: str) -> None:
        """Add text to a paragraph, unless it is hidden or stands in a field's code."""
        if self._fields.hide():
            return
        if self._look.hidden:
            self.shared.left_out.n_hidden_chars += len(text.strip())
            return
        paragraph.line.add(text, self._look.mark or "")

    def _text(self, element: Any, paragraph: _Paragraph) -> None:
        text = element.text or ""
        if not text.isascii() and any(map(is_private, text)):
            fonts = None if self._font_of is None else child(self._font_of, "w:rFonts")
            font = "" if fonts is None else attribute(fonts, "ascii") or attribute(fonts, "hAnsi")
            text = "".join(
                self._known(ord(char), font) if is_private(char) else char for char in text
            )
        self._add(paragraph, text)

    def _symbol(self, element: Any, paragraph: _Paragraph) -> None:
        try:
            code = int(attribute(element, "char"), 16)
        except ValueError:
            return
        self._add(paragraph, self._known(code, attribute(element, "font")))

    def _known(self, code: int, font: str) -> str:
        char = symbol(code, font)
        if char == LOST:
            self.shared.left_out.fonts[font or "a symbol font"] += 1
        return char

    def _break(self, element: Any, paragraph: _Paragraph) -> None:
        if attribute(element, "type") != "page":
            self._add(paragraph, "\n")
        elif not self.shared.has_rendered:
            paragraph.end_page()

    def _note(self, kind: str, element: Any, paragraph: _Paragraph) -> None:
        """Put a note at its place, where it is met first."""
        found = self.shared.notes.pop((kind, attribute(element, "id")), None)
        if found is None or self._fields.hide() or self._look.hidden:
            return
        part, note = found
        blocks = Blocks()
        Walker(self.shared, part).read(note, blocks)
        if text := " ".join(blocks.flat().split()):
            paragraph.line.add(f" [note: {text}]")

    def _field_mark(self, element: Any, paragraph: _Paragraph) -> None:
        kind = attribute(element, "fldCharType")
        if kind == "begin":
            if (data := child(element, "w:ffData")) is not None:
                self._add(paragraph, form_value(data))
            self._fields.begin()
            return
        is_page = self.is_margin and PAGE_NUMBER.match(self._fields.code()) is not None
        paragraph.has_page_field = paragraph.has_page_field or is_page
        if kind == "separate" and not is_page:
            self._fields.show()
        elif kind == "end":
            is_equation = EQUATION.match(self._fields.code()) is not None
            if not self._fields.end() and is_equation:
                self._count("equation")

    def _field_code(self, element: Any, paragraph: _Paragraph) -> None:
        self._fields.add_code(element.text or "")

    def _simple_field(self, element: Any, paragraph: _Paragraph) -> None:
        if self.is_margin and PAGE_NUMBER.match(attribute(element, "instr")):
            paragraph.has_page_field = True
        else:
            self._walk(element, paragraph)

    def _equation(self, element: Any, paragraph: _Paragraph) -> None:
        before = element.getprevious()
        if before is not None and NAMES[before.tag] == "m:oMath":
            self._add(paragraph, "\n")
        self._add(paragraph, linear(element).strip())

    def _choice(self, element: Any, paragraph: _Paragraph) -> None:
        self._walk(_chosen(element), paragraph)

    def _drawing(self, element: Any, paragraph: _Paragraph) -> None:
        if words := described(element):
            self._add(paragraph, f"[picture: {words}]")
        self._walk(element, paragraph)

    def _object(self, element: Any, paragraph: _Paragraph) -> None:
        program = child(element, "o:OLEObject")
        is_equation = program is not None and _EQUATION_PROGRAM.match(attribute(program, "ProgID"))
        self._count("equation" if is_equation else "embedded object")

    def _diagram(self, element: Any, paragraph: _Paragraph) -> None:
        package = self.shared.package
        root = package.part(package.target(self.part, attribute(element, "dm")))
        texts = [] if root is None else diagram_text(root)
        for text in texts:
            paragraph.boxes.add(f"- {text}", tight=True)
        if not texts:
            self._count("diagram")

    def _count(self, thing: str) -> None:
        if not self._fields.hide():
            self.shared.left_out.counts[thing] += 1

    def _table(self, element: Any, blocks: Blocks) -> None:
        rows = []
        for is_header, cells in rows_of(element):
            row = Row([Blocks() for _ in cells], is_header)
            for cell, inner in zip(cells, row.cells, strict=True):
                if cell is not None:
                    self.read(cell, inner)
            rows.append(row)
        blocks.table(rows)


def _chosen(element: Any) -> Any:
    """Return the form of an alternative that new programs show; it may be the only one."""
    choice = child(element, "mc:Choice")
    if choice is None:
        choice = child(element, "mc:Fallback")
    return () if choice is None else choice


def _is_page_number(text: str) -> bool:
    """Say whether what stands around a page's number says nothing more, such as "Page of "."""
    return len(" ".join(text.split())) <= _PAGE_WORDS_CHARS
