"""Excel files: the values of their sheets as people see them, row by row with headers."""

import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from e2llm.documents.formats.base import Content, Format, import_package
from e2llm.documents.formats.number_format import show
from e2llm.documents.formats.records import count
from e2llm.documents.formats.sheets import Merge, Sheet, write_sheets
from e2llm.documents.formats.zipped import ZIP_BYTES, open_archive
from e2llm.errors import ReadError

# Strict Open XML is the same under other names.
_STRICT = (
    (
        b"http://purl.oclc.org/ooxml/spreadsheetml/main",
        b"http://schemas.openxmlformats.org/spreadsheetml/2006/main",
    ),
    (
        b"http://purl.oclc.org/ooxml/officeDocument/",
        b"http://schemas.openxmlformats.org/officeDocument/2006/",
    ),
    (
        b"http://purl.oclc.org/ooxml/drawingml/",
        b"http://schemas.openxmlformats.org/drawingml/2006/",
    ),
)
_MARKS = {"superscript": "^", "subscript": "_"}
_COMMENT = re.compile(rb"<(?:\w+:)?comment\b")
_TEXT_BOX = re.compile(rb"<(?:\w+:)?txBody\b")


@dataclass
class _Facts:
    """What a sheet's XML says beside its values.

    Attributes:
        merges: Its merged cells.
        shown: By row and column, from 1, what is read in place of the value: formulas without one,
            and raised or lowered text that stands in the sheet itself.
        n_formulas: Formulas without a stored value.
        n_hidden: Hidden rows, and groups of hidden columns.
    """

    merges: list[Merge] = field(default_factory=list)
    shown: dict[tuple[int, int], str] = field(default_factory=dict)
    n_formulas: int = 0
    n_hidden: int = 0


def read_xlsx(data: bytes, encoding: str | None) -> Content:
    """Return the sheets of an Excel file; formulas are their stored values."""
    openpyxl = import_package("openpyxl", "openpyxl", ".xlsx")
    with open_archive(data, whole=True) as archive:
        if "xl/workbook.bin" in archive.namelist():
            raise ReadError("is a binary Excel file (.xlsb): save it as .xlsx")
        if b"purl.oclc.org" in archive.read("xl/workbook.xml"):
            data = _rewrite(archive)
    with open_archive(data) as archive:
        book = openpyxl.load_workbook(
            io.BytesIO(data), read_only=True, data_only=True, keep_links=False, rich_text=True
        )
        try:
            sheets, notices = [], []
            for sheet in book.worksheets:
                facts = _find_facts(archive, sheet._worksheet_path)
                sheets.append(
                    Sheet(
                        sheet.title,
                        dict(_rows(sheet, facts.shown)),
                        facts.merges,
                        sheet.sheet_state != "visible",
                        facts.n_hidden,
                        facts.n_formulas,
                    )
                )
        finally:
            book.close()
        notices = list(_left_out(archive, len(book.chartsheets)))
    return write_sheets(sheets, notices)


def _rows(sheet: Any, shown: dict[tuple[int, int], str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the index of each row that is not empty, from 0, and its cells."""
    sheet.reset_dimensions()  # what the file says of its size may be wrong
    for index, row in enumerate(sheet.iter_rows()):
        cells = [_show(cell) for cell in row]
        for column in range(len(cells) if shown else 0):
            cells[column] = shown.get((index + 1, column + 1), cells[column])
        if any(cells):
            yield index, cells


def _show(cell: Any) -> str:
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, list):  # rich text: strings and blocks
        return "".join(map(_show_block, value))
    return show(value, cell.number_format or "General")


def _show_block(block: Any) -> str:
    """Return a piece of rich text, with a mark where it is raised or lowered."""
    font = getattr(block, "font", None)
    return _MARKS.get(getattr(font, "vertAlign", None) or "", "") + str(
        getattr(block, "text", block)
    )


def _show_run(run: Any) -> str:
    """Return the same of an element of the sheet's XML."""
    align = run.find("{*}rPr/{*}vertAlign")
    mark = _MARKS.get(align.get("val"), "") if align is not None else ""
    return mark + "".join(text.text or "" for text in run.iterfind("{*}t"))


def _find_facts(archive: zipfile.ZipFile, path: str) -> _Facts:
    etree = import_package("lxml.etree", "lxml", ".xlsx")
    utils = import_package("openpyxl.utils.cell", "openpyxl", ".xlsx")
    facts = _Facts()
    with archive.open(path) as file:
        tags = [f"{{*}}{name}" for name in ("c", "row", "col", "mergeCell")]
        for _, element in etree.iterparse(file, tag=tags, resolve_entities=False, no_network=True):
            name = etree.QName(element).localname
            if name == "mergeCell":
                first_column, first, last_column, last = utils.range_boundaries(element.get("ref"))
                facts.merges.append(Merge(first - 1, first_column - 1, last - 1, last_column - 1))
            elif name == "c":
                formula, value = element.find("{*}f"), element.find("{*}v")
                if formula is not None and (value is None or not value.text):
                    facts.n_formulas += 1
                    text = "=" + (formula.text or "...")
                elif element.find("{*}is/{*}r/{*}rPr/{*}vertAlign") is not None:
                    text = "".join(map(_show_run, element.iterfind("{*}is/{*}r")))
                else:
                    continue
                facts.shown[utils.coordinate_to_tuple(element.get("r", "A1"))] = text
            elif element.get("hidden") in ("1", "true"):
                facts.n_hidden += 1
            if name != "c":
                element.clear()
    return facts


def _left_out(archive: zipfile.ZipFile, n_chart_sheets: int) -> Iterator[str]:
    names = archive.namelist()
    n_comments = sum(
        len(_COMMENT.findall(archive.read(name)))
        for name in names
        if re.match(r"xl/(?:comments/)?comments?\d*\.xml$", name)
    )
    n_boxes = sum(
        len(_TEXT_BOX.findall(archive.read(name)))
        for name in names
        if re.match(r"xl/drawings/[^/]+\.xml$", name)
    )
    n_charts = sum(bool(re.match(r"xl/charts/chart\d*\.xml$", name)) for name in names)
    n_pictures = sum(name.startswith("xl/media/") for name in names)
    for number, noun in (
        (n_comments, "comment"),
        (n_boxes, "text box"),
        (max(n_charts, n_chart_sheets), "chart"),
        (n_pictures, "picture"),
    ):
        if number:
            yield f"{count(number, noun)} not read"


def _rewrite(archive: zipfile.ZipFile) -> bytes:
    """Return an archive of Strict Open XML under the names that the library knows."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as written:
        for name in archive.namelist():
            member = archive.read(name)
            if name.endswith((".xml", ".rels")):
                for strict, usual in _STRICT:
                    member = member.replace(strict, usual)
            written.writestr(name, member)
    return target.getvalue()


def _is_xlsx(data: bytes) -> bool:
    with open_archive(data) as archive:
        return not {"xl/workbook.xml", "xl/workbook.bin"}.isdisjoint(archive.namelist())


XLSX = Format(
    "xlsx",
    (".xlsx", ".xlsm", ".xltx", ".xltm"),
    read_xlsx,
    first_bytes=ZIP_BYTES,
    looks_like=_is_xlsx,
)
