"""OpenDocument spreadsheets: the cells of their sheets as they are shown, straight from the XML."""

import io
import zipfile
from collections.abc import Iterator
from typing import Any

from e2llm.documents.formats.base import Content, Format, import_package
from e2llm.documents.formats.records import count
from e2llm.documents.formats.sheets import Merge, Sheet, write_sheets
from e2llm.documents.formats.zipped import ZIP_BYTES, open_archive

_KIND = b"application/vnd.oasis.opendocument.spreadsheet"
_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
_STYLE = "{urn:oasis:names:tc:opendocument:xmlns:style:1.0}"
_DRAW = "{urn:oasis:names:tc:opendocument:xmlns:drawing:1.0}"
# What a sheet may hold, and how many cells repetition may add to a file: a hundred bytes of XML can
# ask for 10^18 of them.
_MAX_COLUMNS, _MAX_ROWS = 16_384, 1_048_576
_MAX_REPEATED = 1_000_000


def read_ods(data: bytes, encoding: str | None) -> Content:
    """Return the sheets of an OpenDocument spreadsheet."""
    reader = _Reader()
    with open_archive(data) as archive:
        reader.read(archive)
    return write_sheets(reader.sheets, list(reader.left_out()))


class _Reader:
    """What is read of the XML, one row in memory at a time."""

    def __init__(self) -> None:
        self.sheets: list[Sheet] = []
        self.n_repeated = 0
        self.n_cut = 0
        self.n_left_out = {"comment": 0, "chart": 0, "picture": 0}
        self._hidden_styles: set[str] = set()
        self._merges: list[Merge] = []
        self._at = 0  # index of the row that comes next

    def read(self, archive: zipfile.ZipFile) -> None:
        """Read the sheets."""
        etree = import_package("lxml.etree", "lxml", ".ods")
        tags = [_TABLE + "table", _TABLE + "table-row", _STYLE + "style"]
        with io.BytesIO(archive.read("content.xml")) as file:
            events = etree.iterparse(
                file, events=("start", "end"), tag=tags, resolve_entities=False, no_network=True
            )
            depth = 0  # a table may stand in a cell
            for event, element in events:
                if element.tag == _TABLE + "table":
                    depth += 1 if event == "start" else -1
                    if depth == 1 and event == "start":
                        self._begin(element)
                elif event == "end" and element.tag == _STYLE + "style":
                    properties = element.find(_STYLE + "table-properties")
                    if properties is not None and properties.get(_TABLE + "display") == "false":
                        self._hidden_styles.add(element.get(_STYLE + "name"))
                elif event == "end" and depth == 1:
                    self._add_row(element)
                    element.clear()

    def left_out(self) -> Iterator[str]:
        """Yield what was not read."""
        for noun, number in self.n_left_out.items():
            if number:
                yield f"{count(number, noun)} not read"
        if self.n_cut:
            yield (
                f"{count(self.n_cut, 'cell or row', 'cells or rows')} repeated more often than "
                "a sheet can hold: read fewer times"
            )

    def _begin(self, element: Any) -> None:
        self._merges, self._at = [], 0
        hidden = element.get(_TABLE + "style-name") in self._hidden_styles
        name = element.get(_TABLE + "name") or f"Sheet{len(self.sheets) + 1}"
        self.sheets.append(Sheet(name, {}, self._merges, hidden))

    def _add_row(self, row: Any) -> None:
        sheet = self.sheets[-1]
        cells: list[str] = []
        n_empty = 0
        for cell in row:
            if cell.tag not in (_TABLE + "table-cell", _TABLE + "covered-table-cell"):
                continue
            times = _times(cell, "number-columns-repeated")
            text = self._text(cell)
            if not text:
                n_empty += times
                continue
            cells += [""] * min(n_empty, _MAX_COLUMNS - len(cells))
            n_empty = 0
            across, down = (_times(cell, f"number-{what}-spanned") for what in ("columns", "rows"))
            if across > 1 or down > 1:
                begin = len(cells)
                end = min(begin + across, _MAX_COLUMNS)
                last = min(self._at + down, _MAX_ROWS)
                self._merges.append(Merge(self._at, begin, last - 1, end - 1))
            cells += [text] * self._bounded(times, 1, _MAX_COLUMNS - len(cells))
        times = _times(row, "number-rows-repeated")
        if cells:
            for index in range(self._bounded(times, len(cells), _MAX_ROWS - self._at)):
                sheet.rows[self._at + index] = list(cells)
            if row.get(_TABLE + "visibility") in ("collapse", "filter"):
                sheet.n_hidden += 1
        self._at = min(self._at + times, _MAX_ROWS)

    def _bounded(self, times: int, width: int, room: int) -> int:
        """Return how often a cell or a row of so many cells is read."""
        most = min(room, 1 + (_MAX_REPEATED - self.n_repeated) // max(width, 1))
        if times > most:
            self.n_cut += 1
        times = max(min(times, most), 0)
        self.n_repeated += max(times - 1, 0) * width
        return times

    def _text(self, cell: Any) -> str:
        """Return what a cell shows; of a formula without a value the formula."""
        lines = []
        for child in cell:
            if child.tag == _TEXT + "p":
                lines.append("".join(_pieces(child)))
            elif child.tag == _OFFICE + "annotation":
                self.n_left_out["comment"] += 1
            elif isinstance(child.tag, str) and child.tag.startswith(_DRAW):
                drawn = "chart" if child.find(_DRAW + "object") is not None else "picture"
                self.n_left_out[drawn] += 1
        text = "\n".join(lines).strip()
        if not text and (formula := cell.get(_TABLE + "formula")):
            if (value := cell.get(_OFFICE + "value")) is not None:
                return value
            self.sheets[-1].n_formulas += 1
            return "=" + formula.partition("=")[2]
        return text or cell.get(_OFFICE + "value") or cell.get(_OFFICE + "date-value") or ""


def _times(element: Any, name: str) -> int:
    number = element.get(_TABLE + name, "1")
    return max(int(number), 1) if number.isdecimal() and len(number) < 19 else 1


def _pieces(element: Any) -> Iterator[str]:
    """Yield the text of a paragraph, with its spaces, tabs and line breaks."""
    yield element.text or ""
    for child in element:
        if child.tag == _TEXT + "s":
            number = child.get(_TEXT + "c", "1")
            yield " " * (min(int(number), 100) if number.isdecimal() else 1)
        elif child.tag == _TEXT + "tab":
            yield "\t"
        elif child.tag == _TEXT + "line-break":
            yield "\n"
        elif child.tag != _OFFICE + "annotation" and isinstance(child.tag, str):
            yield from _pieces(child)
        yield child.tail or ""


def _is_ods(data: bytes) -> bool:
    with open_archive(data) as archive:
        names = archive.namelist()
        # Where a program did not say the kind, what lies in the content's body would have to tell.
        return "mimetype" in names and archive.read("mimetype").startswith(_KIND)


ODS = Format("ods", (".ods", ".ots"), read_ods, first_bytes=ZIP_BYTES, looks_like=_is_ods)
