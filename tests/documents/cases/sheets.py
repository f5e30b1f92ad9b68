"""Spreadsheets: Excel's by openpyxl, OpenDocument's by odfpy, and bombs by hand."""

import datetime
import io
import zipfile
from pathlib import Path

import openpyxl
from odf.office import Annotation
from odf.opendocument import OpenDocumentSpreadsheet
from odf.style import Style, TableProperties
from odf.table import Table, TableCell, TableRow
from odf.text import P
from openpyxl.cell.rich_text import CellRichText, TextBlock
from openpyxl.cell.text import InlineFont
from openpyxl.chart import BarChart, Reference
from openpyxl.comments import Comment
from openpyxl.drawing.image import Image
from PIL import Image as Picture

from tests.documents.cases import Case, raw


def _book(*sheets, **change):
    """Return what writes a workbook of sheets, each a name and rows; `edit` changes its first."""

    def make(path: Path) -> None:
        book = openpyxl.Workbook()
        book.remove(book.active)
        for name, rows in sheets:
            sheet = book.create_sheet(name)
            for row in rows:
                sheet.append(row)
        if "edit" in change:
            change["edit"](book.worksheets[0])
        book.save(path)

    return make


def _format(sheet) -> None:
    for column, shown in zip("BCDE", ("0.0%", "#,##0.00 [$€-407]", "00000", "mmm yy"), strict=True):
        sheet[f"{column}2"].number_format = shown


def _merge(sheet) -> None:
    for cells in ("A1:E1", "B2:C2", "D2:E2", "A4:A5"):
        sheet.merge_cells(cells)


def _add_extras(sheet) -> None:
    sheet["A2"].comment = Comment("Really?", "Ann")
    chart = BarChart()
    chart.add_data(Reference(sheet, min_col=2, min_row=2, max_row=3))
    sheet.add_chart(chart, "D2")
    picture = io.BytesIO()
    Picture.new("RGB", (4, 4)).save(picture, "png")
    sheet.add_image(Image(picture), "D9")


def _hide(sheet) -> None:
    sheet.row_dimensions[2].hidden = True
    sheet.column_dimensions["B"].hidden = True


def _hide_sheet(sheet) -> None:
    sheet.parent.worksheets[1].sheet_state = "hidden"


def _raise(sheet) -> None:
    sheet["A2"] = CellRichText("10", TextBlock(InlineFont(vertAlign="superscript"), "11"), " stars")


def _strict(path: Path) -> None:
    """Write a workbook under the names of Strict Open XML."""
    _book(("S", [["Item", "Left"], ["bolt", 4]]))(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    usual = b"http://schemas.openxmlformats.org/"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            if name.startswith(("xl/", "_rels/")):
                data = data.replace(
                    usual + b"spreadsheetml/2006/", b"http://purl.oclc.org/ooxml/spreadsheetml/"
                )
                data = data.replace(
                    usual + b"officeDocument/2006/", b"http://purl.oclc.org/ooxml/officeDocument/"
                )
            archive.writestr(name, data)


def _bomb(member: str, start: bytes = b"<x>", kind: bytes = b""):
    """Return what writes a zip of a megabyte that unzips to 1.5 gigabytes."""

    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            if kind:
                archive.writestr("mimetype", kind)
            archive.writestr("[Content_Types].xml", "<Types/>")
            with archive.open(member, "w") as file:
                file.write(start)
                for _ in range(96):
                    file.write(b" " * 2**24)

    return make


def _ods(*sheets, edit=None):
    def make(path: Path) -> None:
        document = OpenDocumentSpreadsheet()
        for name, rows in sheets:
            table = Table(name=name)
            for cells in rows:
                row = TableRow()
                for cell in cells:
                    own = TableCell()
                    if cell:
                        own.addElement(P(text=cell))
                    row.addElement(own)
                table.addElement(row)
            document.spreadsheet.addElement(table)
        if edit:
            edit(document)
        document.save(path)

    return make


def _repeat(document) -> None:
    table = document.spreadsheet.childNodes[0]
    rows = table.childNodes
    rows[1].childNodes[1].setAttribute("numbercolumnsrepeated", 3)
    rows[2].setAttribute("numberrowsrepeated", 2)
    tail = TableRow(numberrowsrepeated=1_000_000_000)
    tail.addElement(TableCell(numbercolumnsrepeated=1_000_000_000))
    table.addElement(tail)


def _repeat_values(document) -> None:
    row = document.spreadsheet.childNodes[0].childNodes[1]
    row.setAttribute("numberrowsrepeated", 1_000_000_000)
    row.childNodes[1].setAttribute("numbercolumnsrepeated", 1_000_000_000)


def _extras(document) -> None:
    style = Style(name="gone", family="table")
    style.addElement(TableProperties(display="false"))
    document.automaticstyles.addElement(style)
    document.spreadsheet.childNodes[1].setAttribute("stylename", "gone")
    cell = document.spreadsheet.childNodes[0].childNodes[1].childNodes[0]
    note = Annotation()
    note.addElement(P(text="Really?"))
    cell.addElement(note)


_ODS = b"application/vnd.oasis.opendocument.spreadsheet"
_STAFF = [["Seller", "Q1", "Q2", "Q3"], ["Dask", 120, 130, 140.5], ["Bo", 7, None, 9]]

CASES = [
    Case(
        "sheets by name, rows with headers",
        "a.xlsx",
        _book(("Sales", _STAFF), ("Stock", [["Item", "Left"], ["bolt", 4]])),
        holds=(
            "# Sales\n\nSeller: Dask\nQ1: 120\nQ2: 130\nQ3: 140.5\n\nSeller: Bo\nQ1: 7\nQ3: 9\n",
            "# Stock\n\nItem: bolt\nLeft: 4\n",
        ),
        n_pages=2,
    ),
    Case(
        "percent, currency, leading zeros, dates as they show",
        "format.xlsx",
        _book(
            (
                "S",
                [
                    ["Name", "Share", "Price", "Postcode", "Month", "Day", "Sum"],
                    [
                        "Ann",
                        0.125,
                        1234.5,
                        1067,
                        datetime.date(2024, 3, 1),
                        datetime.datetime(2024, 3, 5, 14, 30),
                        0.1 + 0.2,
                    ],
                ],
            ),
            edit=_format,
        ),
        holds=(
            "Share: 12.5%\nPrice: 1,234.50 €\nPostcode: 01067\nMonth: 2024-03\n"
            "Day: 2024-03-05 14:30\nSum: 0.3\n",
        ),
        n_pages=1,
    ),
    Case(
        "merged cells: a title, groups of columns, a value for two rows",
        "merged.xlsx",
        _book(
            (
                "S",
                [
                    ["Sales of all shops"],
                    ["Shop", "2023", None, "2024"],
                    ["", "Paid", "Open", "Paid", "Open"],
                    ["Ulm", 1, 2, 3, 4],
                    [None, 5, 6, 7, 8],
                ],
            ),
            edit=_merge,
        ),
        holds=(
            "Sales of all shops\n",
            "Shop: Ulm\n2023 Paid: 1\n2023 Open: 2\n2024 Paid: 3\n2024 Open: 4\n",
            "Shop: Ulm\n2023 Paid: 5\n2023 Open: 6\n2024 Paid: 7\n2024 Open: 8\n",
        ),
        n_pages=1,
    ),
    Case(
        "two tables on a sheet",
        "two.xlsx",
        _book(("S", [["Item", "Left"], ["bolt", 4], [], ["Staff"], ["Name", "Age"], ["Ann", 40]])),
        holds=("Item: bolt\nLeft: 4\n", "Staff\n", "Name: Ann\nAge: 40\n"),
        n_pages=1,
    ),
    Case(
        "formulas that were never computed",
        "formula.xlsx",
        _book(("S", [["Item", "Left"], ["bolt", 4], ["nut", 5], ["all", "=SUM(B2:B3)"]])),
        holds=("Item: all\nLeft: =SUM(B2:B3)",),
        notices=("1 formula without a stored value",),
        n_pages=1,
    ),
    Case(
        "hidden sheet",
        "hidden.xlsx",
        _book(
            ("Open", [["Item", "Left"], ["bolt", 4]]),
            ("Costs", [["Item", "Cost"], ["bolt", 2.5]]),
            edit=_hide_sheet,
        ),
        holds=("# Costs\n\nItem: bolt\nCost: 2.5",),
        notices=("1 hidden sheet read too: 'Costs'",),
        n_pages=2,
    ),
    Case(
        "hidden row and column",
        "hidden-row.xlsx",
        _book(("S", [["Item", "Left"], ["bolt", 4], ["nut", 5]]), edit=_hide),
        holds=("Item: bolt\nLeft: 4",),
        notices=("2 hidden rows or columns read too",),
        n_pages=1,
    ),
    Case(
        "comment, chart, picture",
        "extras.xlsx",
        _book(("S", [["Item", "Left"], ["bolt", 4], ["nut", 5]]), edit=_add_extras),
        holds=("Item: bolt\nLeft: 4",),
        lacks=("Really?",),
        notices=("1 comment not read", "1 chart not read", "1 picture not read"),
        n_pages=1,
    ),
    Case(
        "raised text",
        "raised.xlsx",
        _book(("S", [["What", "Seen"], ["", 3]]), edit=_raise),
        holds=("What: 10^11 stars\nSeen: 3",),
        n_pages=1,
    ),
    Case("Strict Open XML", "strict.xlsx", _strict, holds=("Item: bolt\nLeft: 4",), n_pages=1),
    Case("no values", "empty.xlsx", _book(("S", [])), refused="has no values in its sheets"),
    Case("zip bomb", "bomb.xlsx", _bomb("xl/workbook.xml"), refused="unzips to"),
    Case(
        "sheets by name",
        "a.ods",
        _ods(
            ("Sales", [["Seller", "Q1"], ["Dask", "1,200 €"]]), ("Two", [["Item", "n"], ["a", "1"]])
        ),
        holds=("# Sales\n\nSeller: Dask\nQ1: 1,200 €\n", "# Two\n\nItem: a\nn: 1\n"),
        n_pages=2,
    ),
    Case(
        "repeated cells, rows, and a billion empty ones",
        "repeated.ods",
        _ods(("S", [["Seller", "Q1", "Q2", "Q3"], ["Dask", "7"], ["Bo", "8", "9"]]), edit=_repeat),
        holds=(
            "Seller: Dask\nQ1: 7\nQ2: 7\nQ3: 7\n",
            "Seller: Bo\nQ1: 8\nQ2: 9\n\nSeller: Bo\nQ1: 8\nQ2: 9\n",
        ),
        n_pages=1,
    ),
    Case(
        "a value a billion times a billion times",
        "bomb-cells.ods",
        _ods(("S", [["Seller", "Q1"], ["Dask", "7"]]), edit=_repeat_values),
        holds=("A: Dask\nB: 7\nC: 7\nD: 7",),
        notices=("2 cells or rows repeated more often",),
        n_pages=1,
    ),
    Case(
        "hidden sheet, comment",
        "extras.ods",
        _ods(
            ("S", [["Item", "n"], ["a", "1"]]), ("Costs", [["Item", "n"], ["b", "2"]]), edit=_extras
        ),
        holds=("Item: a\nn: 1", "# Costs\n\nItem: b\nn: 2"),
        lacks=("Really?",),
        notices=("1 hidden sheet read too: 'Costs'", "1 comment not read"),
        n_pages=2,
    ),
    Case("zip bomb", "bomb.ods", _bomb("content.xml", kind=_ODS), refused="unzips to"),
    Case(
        "old Excel",
        "old.xls",
        raw(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 504 + "Workbook".encode("utf-16-le")),
        refused="is an old Excel file (.xls): save it as .xlsx",
    ),
    Case(
        "a web page under .xls",
        "page.xls",
        raw(b"<html><table><tr><td>Name</td><td>Ann</td></tr></table></html>"),
        holds=("Name\tAnn",),
    ),
    Case(
        "tabs under .xls",
        "tabs.xls",
        raw(b"Name\tPaid\nAnn\t1\nBo\t2\n"),
        holds=("Name: Ann\nPaid: 1",),
    ),
]
