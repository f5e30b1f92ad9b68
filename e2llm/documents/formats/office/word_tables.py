"""The rows and cells of Word's tables, each met once however they are merged."""

from collections.abc import Iterator
from typing import Any

from e2llm.documents.formats.office.word_styles import integer
from e2llm.documents.formats.office.xml import NAMES, attribute, child, is_on, value

_MAX_COLUMNS = 63  # Word's own limit
_MAX_SPANNED = 1_000_000  # cells of one table that others reach into


def rows_of(table: Any) -> Iterator[tuple[bool, list[Any]]]:
    """Yield of each row whether it says what the columns are, and its cells.

    A cell is None where another reaches into it, or where the row begins further right.
    """
    marked = _first_row_is_header(table)
    n_left = _MAX_SPANNED
    for number, row in enumerate(_inside(table, "w:tr")):
        properties = child(row, "w:trPr")
        is_header, before = marked and number == 0, 0
        if properties is not None:
            if child(properties, "w:del") is not None:
                continue
            is_header = is_header or bool(is_on(properties, "w:tblHeader"))
            before = integer(value(properties, "w:gridBefore")) or 0
        cells: list[Any] = [None] * min(max(before, 0), _MAX_COLUMNS, n_left)
        n_left -= len(cells)
        for cell in _inside(row, "w:tc"):
            own = child(cell, "w:tcPr")
            cells.append(None if own is not None and _is_covered(own) else cell)
            span = 1 if own is None else integer(value(own, "w:gridSpan")) or 1
            n_spanned = max(min(span - 1, _MAX_COLUMNS - len(cells), n_left), 0)
            cells += [None] * n_spanned
            n_left -= n_spanned
        yield is_header, cells


def _inside(element: Any, name: str) -> Iterator[Any]:
    """Yield the rows or cells of a table, with those in content controls and insertions."""
    for inner in element:
        own = NAMES[inner.tag]
        if own == name:
            yield inner
        elif own in ("w:sdt", "w:sdtContent", "w:ins", "w:moveTo", "w:customXml", "w:smartTag"):
            yield from _inside(inner, name)


def _is_covered(properties: Any) -> bool:
    """Say whether a cell is one that another reaches into, or is deleted."""
    merged = [value(properties, name, default="continue") for name in ("w:vMerge", "w:hMerge")]
    return "continue" in merged or child(properties, "w:cellDel") is not None


def _first_row_is_header(table: Any) -> bool:
    """Say whether a table's style sets its first row apart; a table without a style may."""
    look = child(table, "w:tblPr", "w:tblLook")
    if look is None:
        return True
    if first := attribute(look, "firstRow"):
        return first not in ("0", "false", "off")
    # The older form: bits of a hexadecimal number.
    try:
        return bool(int(attribute(look, "val", "20"), 16) & 0x20)
    except ValueError:
        return True
