"""Sheets of a spreadsheet file: of each its name as a heading, and rows with their headers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from e2llm.documents.formats.base import Content
from e2llm.documents.formats.records import count
from e2llm.documents.formats.tables import write_blocks
from e2llm.errors import ReadError

# A merged cell stands for no more cells than this.
_MAX_FILLED = 10_000


class Merge(NamedTuple):
    """Cells that are one: the indices of its first and last row and column, from 0."""

    first_row: int
    first_column: int
    last_row: int
    last_column: int


@dataclass
class Sheet:
    """One sheet.

    Attributes:
        name: Its name.
        rows: By their index the rows that are not empty; their cells as they are shown.
        merges: Its merged cells.
        hidden: Whether its users do not see it.
        n_hidden: Rows and columns in it that they do not see.
        n_formulas: Formulas without a stored value.
    """

    name: str
    rows: dict[int, list[str]]
    merges: Sequence[Merge] = ()
    hidden: bool = False
    n_hidden: int = 0
    n_formulas: int = 0

    def lines(self) -> list[list[str]]:
        """Return the rows, an empty one for all that are empty between two."""
        lines: list[list[str]] = []
        before = -1
        for index in sorted(self.rows):
            if index > before + 1 and lines:
                lines.append([])
            lines.append(self.rows[index])
            before = index
        return lines

    def fill(self) -> None:
        """Write the value of merged cells in each of the rows, and columns, that they stand for.

        A line of text over the whole table stays in its first cell.
        """
        n_filled = 0
        for merge in self.merges:
            row = self.rows.get(merge.first_row, [])
            value = row[merge.first_column] if merge.first_column < len(row) else ""
            alone = sum(map(bool, row)) == 1
            if not value or (alone and merge.last_column > merge.first_column):
                continue
            for index in range(merge.first_row, merge.last_row + 1):
                cells = self.rows.setdefault(index, [])
                cells += [""] * (merge.last_column + 1 - len(cells))
                for column in range(merge.first_column, merge.last_column + 1):
                    cells[column] = cells[column] or value
                    n_filled += 1
                if n_filled > _MAX_FILLED:
                    return


def write_sheets(sheets: Sequence[Sheet], notices: Sequence[str]) -> Content:
    """Return the content of a file of sheets.

    Raises:
        ReadError: No sheet holds a value.
    """
    if not any(sheet.rows for sheet in sheets):
        raise ReadError("has no values in its sheets: give a file that has text")
    parts = []
    for sheet in sheets:
        sheet.fill()
        records = write_blocks(sheet.lines())
        parts.append([f"# {' '.join(sheet.name.split())}\n\n", *records])
    said = []
    if hidden := [sheet.name for sheet in sheets if sheet.hidden]:
        names = ", ".join(map(repr, hidden[:4])) + (" ..." if len(hidden) > 4 else "")
        said.append(f"{count(len(hidden), 'hidden sheet')} read too: {names}")
    if n_hidden := sum(sheet.n_hidden for sheet in sheets):
        said.append(f"{count(n_hidden, 'hidden row or column', 'hidden rows or columns')} read too")
    if n_formulas := sum(sheet.n_formulas for sheet in sheets):
        said.append(
            f"{count(n_formulas, 'formula')} without a stored value, read as written: "
            "open the file in a spreadsheet program and save it"
        )
    return Content(parts, "sheet", (*said, *notices))
