"""Tables: rows of cells as `Header: value` lines, which can be read alone.

From these the default decoder answers best, and a chunk from the middle of a table needs no other
(see LOG.md).
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, zip_longest

from e2llm.documents.formats.records import MAX_LABEL_CHARS, short_label, split_record

_NUMBER = re.compile(
    r"[-+(]?\s*[$€£¥]?\s*[-+]?[\d.,'  ]*\d[\d.,]*(?:[eE][-+]?\d+)?\s*(?:%|[$€£¥]|[A-Z]{3})?\)?"
    r"|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}.*|\d{1,2}:\d\d.*|(?i:true|false|yes|no|nan|n/?a|null|none|-)"
)
_YEAR = re.compile(r"(?:19|20)\d\d")
_NUMBER_CHARS = 40
# So many rows are looked at to tell the header.
_SEEN_ROWS = 200


def column_name(index: int) -> str:
    """Return the letters of a column, as spreadsheets name it.

    Example:
        >>> column_name(0), column_name(27)
        ('A', 'AB')
    """
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def find_header(rows: Sequence[Sequence[str]]) -> int | None:
    """Return the index of the row that names the columns; None where no row does.

    It is the first row of which at least half is filled, if it holds words alone, and none that
    its own column repeats.

    Args:
        rows: The first rows of a table; empty cells are empty strings.
    """
    widths = Counter(width for row in rows if (width := _width(row)) > 1)
    if not widths:
        return None
    most = max(widths.values())
    usual = max(width for width, count in widths.items() if 2 * count >= most)
    at = next((i for i, row in enumerate(rows) if _filled(row) >= max(2, (usual + 1) // 2)), None)
    if at is None or at + 1 >= len(rows):
        return None
    head = rows[at]
    if not _names(head) and not (_is_over(head) and _names(rows[at + 1])):
        return None
    below = [row for row in rows[at + 1 + _is_over(head) :] if row != head]
    for index, cell in enumerate(head):
        if cell.strip() and any(index < len(row) and row[index] == cell for row in below):
            return None
    return at


def _names(row: Sequence[str]) -> bool:
    """Tell whether a row may name columns: it has words alone, or words and years."""
    cells = [cell.strip() for cell in row if cell.strip()]
    words = [cell for cell in cells if not _YEAR.fullmatch(cell)]
    return bool(words) and not any(map(_is_number, words))


def _is_over(row: Sequence[str]) -> bool:
    """Tell whether a name stands over several columns, which the row below names one by one."""
    return any(one.strip() and one == other for one, other in pairwise(row))


def _is_number(cell: str) -> bool:
    return len(cell) <= _NUMBER_CHARS and _NUMBER.fullmatch(cell) is not None


def _width(row: Sequence[str]) -> int:
    return max((index + 1 for index, cell in enumerate(row) if cell.strip()), default=0)


def _filled(row: Sequence[str]) -> int:
    return sum(bool(cell.strip()) for cell in row)


@dataclass
class Table:
    """Rows with the names of their columns, which become records.

    Attributes:
        header: Names of the columns; empty where none is known, and columns have letters.
        n_over: Rows that had more cells than the header.
    """

    header: Sequence[str] = ()
    n_over: int = 0
    _labels: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        # A row shows labels of 100 characters; the longer ones stand whole before the first row.
        self._labels = [short_label(name) for name in self.header]

    def begin(self) -> Iterator[str]:
        """Yield what stands before the rows: the names that are too long to stand before values."""
        for name, label in zip(self.header, self._labels, strict=True):
            if len(" ".join(name.split())) > MAX_LABEL_CHARS:
                yield f"{label} is: {name}\n\n"

    def write(self, row: Sequence[str]) -> Iterator[str]:
        """Yield the records of a row: usually one, and none where it is empty."""
        if _width(row) > len(self.header) > 0:
            self.n_over += 1
        fields = [
            f"{self._label(index)}: {cell.strip()}"
            for index, cell in enumerate(row)
            if cell.strip()
        ]
        if len(fields) == 1 and not self.header:
            yield "".join(row).strip() + "\n\n"  # a line of text among rows
        elif fields:
            yield from split_record(fields, "\n", "\n\n")

    def _label(self, index: int) -> str:
        label = self._labels[index] if index < len(self._labels) else ""
        return label or column_name(index)


@dataclass(frozen=True)
class Rows:
    """The records of a table, and what was made of its rows.

    Attributes:
        records: Its records, in order.
        named: Whether a row names its columns.
        certain: Whether that row, or that there is none, shows in the values.
        n_over: Rows that have more cells than there are names.
    """

    records: list[str]
    named: bool
    certain: bool
    n_over: int


def write_rows(rows: Sequence[Sequence[str]]) -> Rows:
    """Return the records of a table. Rows before its header stand with tabs between their cells."""
    at = find_header(rows[:_SEEN_ROWS])
    records = [
        "\t".join(row[: _width(row)]).strip() + "\n" for row in rows[: at or 0] if _width(row)
    ]
    if records:
        records[-1] += "\n"
    if at is None:
        table = Table()
        below = rows
    else:
        n_head = 2 if _is_over(rows[at]) and _names(rows[at + 1]) and len(rows) > at + 2 else 1
        table = Table(_join_header(rows[at : at + n_head]))
        below = rows[at + n_head :]
    records += table.begin()
    for row in below:
        records += table.write(row)
    certain = at is None or any(_is_number(cell) for row in below[:_SEEN_ROWS] for cell in row)
    return Rows(records, at is not None, certain, table.n_over)


def _join_header(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the names of the columns, of which an upper row may name several at once."""
    columns = zip_longest(*rows, fillvalue="")
    return [" ".join(dict.fromkeys(" ".join(column).split())) for column in columns]


def write_blocks(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the records of a sheet, on which several tables may stand.

    An empty row ends a table where the row after it names columns anew, or is a line of text over
    such a row; else the table goes on.
    """
    empty = [index for index, row in enumerate(rows) if not _width(row)]
    starts = [0]
    for index, after in pairwise([*empty, len(rows)]):
        below = rows[index + 1 : min(after, index + _SEEN_ROWS)]
        if below and (find_header(below) is not None or _filled(below[0]) == 1):
            starts.append(index + 1)
    records: list[str] = []
    for start, end in pairwise([*starts, len(rows)]):
        own = write_rows([row for row in rows[start:end] if _width(row)]).records
        records += own
    return records
