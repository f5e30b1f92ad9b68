"""A text of an RTF file while it is read: the document's, a note's, a header's, a box's."""

from dataclasses import dataclass, field

from e2llm.documents.formats.office.blocks import Blocks, Row
from e2llm.documents.formats.office.line import Line

# What stands around a page's number, such as "Page 3 of 7", is shorter.
_PAGE_WORDS_CHARS = 14


@dataclass
class RtfText:
    """A text while it is read: the document's, a note's, a header's."""

    blocks: Blocks = field(default_factory=Blocks)
    line: Line = field(default_factory=Line)
    boxes: Blocks = field(default_factory=Blocks)
    rows: list[Row] = field(default_factory=list)
    cells: list[Blocks] = field(default_factory=list)
    cell: Blocks = field(default_factory=Blocks)
    label: str = ""
    outline: int | None = None
    in_table: bool = False
    is_header: bool = False
    has_page_number: bool = False

    def end_paragraph(self) -> None:
        """End the paragraph, which goes to the cell that it stands in."""
        text, label = self.line.text().strip(), " ".join(self.label.split())
        blocks = self.cell if self.in_table else self.blocks
        if not self.in_table:
            self.end_table()
        if label == "o" or (len(label) == 1 and not label.isalnum()):
            label = "-"
        if self.has_page_number and len(text) <= _PAGE_WORDS_CHARS:
            text = ""
        if self.outline is not None and not self.in_table:
            blocks.heading(f"{label.strip('-')} {text}", self.outline + 1)
        else:
            blocks.add(f"{label} {text}" if label and text else text, tight=bool(label))
        blocks.extend(self.boxes)
        self.line, self.boxes, self.label, self.has_page_number = Line(), Blocks(), "", False

    def end_cell(self) -> None:
        """End a cell."""
        self.in_table = True
        self.end_paragraph()
        self.cells.append(self.cell)
        self.cell = Blocks()

    def end_row(self) -> None:
        """End a row."""
        if self.cells:
            self.rows.append(Row(self.cells, self.is_header or not self.rows))
        self.cells, self.is_header = [], False

    def end_table(self) -> None:
        """End a table, should one be open."""
        self.end_row()
        if self.rows:
            self.blocks.table(self.rows)
            self.rows = []

    def end(self) -> Blocks:
        """End the text and return it."""
        if self.line.has_text() or not self.boxes.is_empty():
            self.end_paragraph()
        if not self.cell.is_empty():
            self.end_cell()
        self.end_table()
        return self.blocks
