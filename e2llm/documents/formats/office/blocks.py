"""Paragraphs, items, tables and page breaks in their order, and the text that they make."""

from collections.abc import Sequence
from dataclasses import dataclass, field

# A table is written as rows where every cell is shorter than this; else it is layout, and its cells
# are read one after the other.
MAX_CELL_CHARS = 1000
# A header that is longer than this is not repeated on every page.
_MAX_HEAD_CHARS = 500
# Items of a list that are shorter than this follow each other without a blank line.
_TIGHT_CHARS = 200


@dataclass
class Row:
    """One row of a table.

    Attributes:
        cells: The text of each; empty where a cell before or above it reaches into it.
        is_header: Whether it says what its columns are.
    """

    cells: list["Blocks"] = field(default_factory=list)
    is_header: bool = False

    def texts(self) -> list[str]:
        """Return each cell's text in one line."""
        return [cell.flat() for cell in self.cells]


class Blocks:
    """What a document, a cell or a text box holds, in order."""

    def __init__(self) -> None:
        # A mark, the text behind it, and whether it is tight; None is the end of a page.
        self._blocks: list[tuple[str, str, bool] | None] = []
        self.n_breaks = 0

    def add(self, text: str, tight: bool = False) -> None:
        """Add a paragraph; a tight one is an item, which follows the item before it closely."""
        text = text.strip("\n")
        if text.strip():
            self._blocks.append(("", text, tight and len(text) < _TIGHT_CHARS))

    def item(self, label: str, text: str, level: int) -> None:
        """Add an item of a list with its label.

        It is indented by its level from 0, unless its label has the numbers above it.
        """
        indent = "" if "." in label.strip(".") else "  " * min(max(level, 0), 8)
        self.add(f"{indent}{label} {text.strip()}" if text.strip() else "", tight=True)

    def heading(self, text: str, level: int) -> None:
        """Add a heading, which stands as Markdown writes it; the highest level is 1."""
        if text := " ".join(text.split()):
            self._blocks.append(("#" * min(level, 6) + " ", text, False))

    def end_page(self, n_breaks: int = 1) -> None:
        """End a page, or several."""
        self.n_breaks += n_breaks
        self._blocks += [None] * n_breaks

    def extend(self, other: "Blocks") -> None:
        """Add all of another's blocks."""
        self._blocks += other._blocks
        self.n_breaks += other.n_breaks

    def is_empty(self) -> bool:
        """Say whether nothing was added."""
        return not self._blocks

    def parts(self) -> list[str]:
        """Return the text of each page."""
        parts: list[str] = []
        page: list[str] = []
        before = False
        for block in self._blocks:
            if block is None:
                parts.append("".join(page))
                page = []
                continue
            mark, text, tight = block
            if page:
                page.append("\n" if tight and before else "\n\n")
            page += (mark, text)
            before = tight
        return [*parts, "".join(page)]

    def text(self) -> str:
        """Return the text of all pages."""
        return "\n\n".join(part for part in self.parts() if part)

    def flat(self) -> str:
        """Return the text in one line."""
        return " ".join(_in_one_line(block[1]) for block in self._blocks if block)

    def table(self, rows: Sequence[Row]) -> None:
        """Add a table: rows in Markdown, or its cells' blocks where it is there for the layout.

        A page ends before or behind a row, and the header stands again on the next one.
        """
        rows = [row for row in rows if any(cell.flat() for cell in row.cells)]
        width = max((len(row.cells) for row in rows), default=0)
        if width < 2 or any(len(text) > MAX_CELL_CHARS for row in rows for text in row.texts()):
            for row in rows:
                for cell in row.cells:
                    self.extend(cell)
            return
        head: list[str] = []
        lines: list[str] = []
        for row in rows:
            n_breaks = max(cell.n_breaks for cell in row.cells)
            early = n_breaks and any(cell.begins_page() for cell in row.cells)
            if early:
                self._end_rows(lines, head, n_breaks)
                lines = [*head]
            lines.append(write_row(row.texts()))
            if row.is_header and not head:
                lines.append("|" + "---|" * width)
                repeats = len(lines) == 2 and len(lines[0]) < _MAX_HEAD_CHARS
                head = [*lines] if repeats else []
            if n_breaks and not early:
                self._end_rows(lines, head, n_breaks)
                lines = [*head]
        if lines != head or len(rows) == 1:
            self.add("\n".join(lines))

    def _end_rows(self, lines: list[str], head: list[str], n_breaks: int) -> None:
        """End a page between two rows of a table."""
        if lines != head:
            self.add("\n".join(lines))
        self.end_page(n_breaks)

    def begins_page(self) -> bool:
        """Say whether a page begins before its first text."""
        return self._blocks[:1] == [None]


def write_row(cells: Sequence[str]) -> str:
    """Return a row of a Markdown table.

    Example:
        >>> write_row(["a", "b|c"])
        '| a | b\\\\|c |'
    """
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def _in_one_line(text: str) -> str:
    """Return a block as it can stand in a cell: of a table its cells with commas between them."""
    if not text.startswith("| "):
        return text
    rows = (line for line in text.split("\n") if not line.startswith("|---"))
    return "; ".join(row.strip("| ").replace(" | ", ", ") for row in rows)
