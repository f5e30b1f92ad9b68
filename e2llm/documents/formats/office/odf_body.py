"""The text of an OpenDocument file, or of one of its slides, walked once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from e2llm.documents.formats.office.blocks import Blocks, Row
from e2llm.documents.formats.office.equations import linear
from e2llm.documents.formats.office.left_out import LeftOut
from e2llm.documents.formats.office.line import Line
from e2llm.documents.formats.office.odf_styles import Counters, OdfStyles
from e2llm.documents.formats.office.xml import NAMES, attribute, child, children

# Deleted text is kept in the first; the others say how a thing looks or where it comes from.
_SKIPPED = {
    *("text:tracked-changes", "text:sequence-decls", "text:variable-decls", "text:ruby-text"),
    *("office:forms", "office:scripts", "office:settings", "text:user-field-decls"),
    *("office:event-listeners", "text:alphabetical-index-auto-mark-file", "text:list-header-style"),
    *("text:table-of-content-source", "text:illustration-index-source", "presentation:notes"),
    *("text:alphabetical-index-source", "text:bibliography-source", "svg:title", "svg:desc"),
    *("text:hidden-text", "text:toc-mark", "text:bookmark", "text:number", "office:binary-data"),
}
_PAGE_NUMBERS = ("text:page-number", "text:page-count")
_MAX_SPACES = 1000
# Cells that one says it stands for; empty ones that stand for more go on to the table's edge.
_MAX_REPEATED = 64


@dataclass
class _Paragraph:
    """A paragraph while it is read."""

    mark: str = ""
    line: Line = field(default_factory=Line)
    boxes: Blocks = field(default_factory=Blocks)
    before: int = 0
    after: int = 0
    has_page_number: bool = False

    def end_page(self) -> None:
        """A page ends here."""
        if self.line.has_text():
            self.after += 1
        else:
            self.before += 1


class OdfWalker:
    """Reads the text in an element.

    Args:
        styles: The file's styles.
        left_out: What is not read, which is counted.
        load: Returns the root of an embedded object, e.g. an equation, by its address in the file;
            None where it has none.
        has_soft_breaks: Whether the file stores where its pages ended; other breaks are then among
            those.
    """

    def __init__(
        self,
        styles: OdfStyles,
        left_out: LeftOut,
        load: Callable[[str], Any],
        has_soft_breaks: bool,
    ) -> None:
        self.styles = styles
        self.left_out = left_out
        self.load = load
        self.has_soft_breaks = has_soft_breaks
        self._outline = Counters(styles.outline)
        self._lists: dict[str, Counters] = {}
        self._hidden = False

    def read(self, element: Any, blocks: Blocks) -> None:
        """Add the paragraphs, lists, tables and drawings in an element."""
        self._read(element, blocks, None, -1)

    def _read(self, element: Any, blocks: Blocks, counters: Counters | None, level: int) -> None:
        """Read what stands in an element.

        Args:
            element: It.
            blocks: Where it goes.
            counters: The numbers of the list that it is in; None outside of lists.
            level: The level in that list.
        """
        for inner in element:
            name = NAMES[inner.tag]
            if name in ("text:p", "text:h"):
                self._paragraph(inner, blocks)
            elif name == "text:list":
                self._list(inner, blocks, counters, level + 1)
            elif name == "table:table":
                self._table(inner, blocks)
            elif name == "text:soft-page-break":
                blocks.end_page()
            elif name == "text:section" and attribute(inner, "display") == "none":
                self.left_out.n_hidden_chars += sum(map(len, inner.itertext()))
            elif name in ("text:note", "office:annotation"):
                self.left_out.n_comments += name == "office:annotation"
            elif name.startswith("draw:"):
                paragraph = _Paragraph()
                self._drawing(inner, paragraph)
                blocks.add(paragraph.line.text())
                blocks.extend(paragraph.boxes)
            elif name and name not in _SKIPPED:
                self._read(inner, blocks, counters, level)

    def _list(self, element: Any, blocks: Blocks, counters: Counters | None, level: int) -> None:
        style = attribute(element, "style-name")
        if style in self.styles.lists and (counters is None or level == 0):
            goes_on = attribute(element, "continue-numbering") == "true" or attribute(
                element, "continue-list"
            )
            if not goes_on or style not in self._lists:
                self._lists[style] = Counters(self.styles.lists[style])
            counters = self._lists[style]
        counters = counters or Counters([])
        for item in element:
            is_item = NAMES[item.tag] == "text:list-item"
            first = True
            for inner in item:
                name = NAMES[inner.tag]
                if name in ("text:p", "text:h"):
                    label = ""
                    if first and is_item and _is_shown(inner):
                        label = counters.label(level, attribute(item, "start-value"))
                    self._paragraph(inner, blocks, label, level)
                    first = False
                elif name == "text:list":
                    self._list(inner, blocks, counters, level + 1)
                else:
                    self._read((inner,), blocks, counters, level)

    def _paragraph(self, element: Any, blocks: Blocks, label: str = "", level: int = 0) -> None:
        look = self.styles.look("paragraph", attribute(element, "style-name"))
        paragraph = _Paragraph(look.mark)
        outer, self._hidden = self._hidden, self._hidden or look.hidden
        self._walk(element, paragraph)
        self._hidden = outer
        text = paragraph.line.text()
        if look.begins_page and not self.has_soft_breaks and not blocks.is_empty():
            paragraph.before += 1
        blocks.end_page(paragraph.before)
        if paragraph.has_page_number and len(text.strip()) <= 14:
            return
        if NAMES[element.tag] == "text:h":
            self._heading(element, text.strip(), label, blocks)
        elif label:
            blocks.item(label, text, level)
        else:
            blocks.add(text.strip())
        blocks.extend(paragraph.boxes)
        blocks.end_page(paragraph.after + (look.ends_page and not self.has_soft_breaks))

    def _heading(self, element: Any, text: str, label: str, blocks: Blocks) -> None:
        outline = attribute(element, "outline-level")
        level = int(outline) if outline.isdigit() else 1
        if text and not label and attribute(element, "is-list-header") != "true":
            label = self._outline.label(level - 1, attribute(element, "start-value"))
        blocks.heading(f"{label.strip('-')} {text}" if text else "", level)

    def _walk(self, element: Any, paragraph: _Paragraph) -> None:
        """Add the text in a paragraph, with what stands behind each of its elements."""
        self._add(element.text, paragraph)
        for inner in element:
            self._inline(inner, NAMES[inner.tag], paragraph)
            self._add(inner.tail, paragraph)

    def _add(self, text: str | None, paragraph: _Paragraph, is_exact: bool = False) -> None:
        if not text:
            return
        if not is_exact:  # white space in the XML is one space
            words = " ".join(text.split())
            text = f"{' ' * text[0].isspace()}{words}{' ' * (bool(words) and text[-1].isspace())}"
        if self._hidden:
            self.left_out.n_hidden_chars += len(text.strip())
        else:
            paragraph.line.add(text, paragraph.mark)

    def _inline(self, element: Any, name: str, paragraph: _Paragraph) -> None:
        if name == "text:span":
            look = self.styles.look("text", attribute(element, "style-name"))
            outer = paragraph.mark, self._hidden
            paragraph.mark = look.mark or paragraph.mark
            self._hidden = self._hidden or look.hidden
            self._walk(element, paragraph)
            paragraph.mark, self._hidden = outer
        elif name == "text:s":
            spaces = attribute(element, "c", "1")
            n_spaces = int(spaces) if spaces.isdigit() and len(spaces) < 6 else 1
            self._add(" " * min(n_spaces, _MAX_SPACES), paragraph, is_exact=True)
        elif name in ("text:tab", "text:line-break"):
            self._add("\t" if name == "text:tab" else "\n", paragraph, is_exact=True)
        elif name == "text:soft-page-break":
            paragraph.end_page()
        elif name == "text:note":
            blocks = Blocks()
            for body in children(element, "text:note-body"):
                self._read(body, blocks, None, -1)
            if words := " ".join(blocks.flat().split()):
                self._add(f" [note: {words}]", paragraph, is_exact=True)
        elif name in _PAGE_NUMBERS:
            paragraph.has_page_number = True
        elif name == "office:annotation":
            self.left_out.n_comments += 1
        elif name.startswith("draw:"):
            self._drawing(element, paragraph)
        elif name in ("text:p", "text:h", "text:list", "table:table"):
            self._read((element,), paragraph.boxes, None, -1)
        elif name and name not in _SKIPPED:
            self._walk(element, paragraph)

    def _drawing(self, element: Any, paragraph: _Paragraph) -> None:
        """Read a drawing: its text boxes, tables and equations, and how it is described."""
        words = child(element, "svg:desc")
        words = child(element, "svg:title") if words is None else words
        described = " ".join((words.text or "").split()) if words is not None else ""
        has_object = False
        for inner in element:
            name = NAMES[inner.tag]
            if name in ("draw:object", "draw:object-ole", "draw:plugin"):
                self._object(inner, name, paragraph)
                has_object = True
            elif name == "draw:image":
                # Beside an object stands a picture of it.
                self.left_out.counts["picture"] += not has_object
            elif name in ("text:p", "text:h", "text:list", "table:table"):
                self._read((inner,), paragraph.boxes, None, -1)
            elif name == "draw:text-box":
                self._read(inner, paragraph.boxes, None, -1)
            elif name.startswith("draw:"):
                self._drawing(inner, paragraph)
        if described and not has_object:
            self._add(f"[picture: {described}]", paragraph)

    def _object(self, element: Any, name: str, paragraph: _Paragraph) -> None:
        root = child(element, "math:math")
        if root is None:
            root = self.load(attribute(element, "href"))
        if root is not None and NAMES[root.tag] == "math:math":
            self._add(linear(root).strip(), paragraph)
            return
        is_chart = child(root, "office:body", "office:chart") is not None
        media = "sound or film" if name == "draw:plugin" else "embedded object"
        self.left_out.counts["chart" if is_chart else media] += 1

    def _table(self, element: Any, blocks: Blocks) -> None:
        rows: list[Row] = []
        for is_header, row in _rows(element, False):
            cells: list[Blocks] = []
            for cell in row:
                name = NAMES[cell.tag]
                if name not in ("table:table-cell", "table:covered-table-cell"):
                    continue
                inner = Blocks()
                if name == "table:table-cell":
                    self._read(cell, inner, None, -1)
                repeated = attribute(cell, "number-columns-repeated", "1")
                n_repeated = int(repeated) if repeated.isdigit() and len(repeated) < 6 else 1
                if not inner.is_empty() or n_repeated <= _MAX_REPEATED:
                    cells += [inner] * min(n_repeated, _MAX_REPEATED)
            rows.append(Row(cells, is_header or not rows))
        blocks.table(rows)


def _rows(table: Any, is_header: bool) -> Iterator[tuple[bool, Any]]:
    """Yield the rows of a table, with whether they are its header."""
    for inner in table:
        name = NAMES[inner.tag]
        if name == "table:table-row":
            yield is_header, inner
        elif name in ("table:table-header-rows", "table:table-rows", "table:table-row-group"):
            yield from _rows(inner, is_header or name == "table:table-header-rows")


def _is_shown(paragraph: Any) -> bool:
    """Say whether a paragraph has anything in it, for an empty item has no number."""
    return bool(len(paragraph)) or bool((paragraph.text or "").strip())


def margins(root: Any, name: str) -> Iterator[Any]:
    """Yield the headers or footers of a file's page styles.

    Args:
        root: The file's styles.
        name: The short name of such an element.
    """
    for master in children(child(root, "office:master-styles"), "style:master-page"):
        for margin in children(master, name):
            if attribute(margin, "display", "true") != "false":
                yield margin
