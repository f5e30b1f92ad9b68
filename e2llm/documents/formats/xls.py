"""Old Excel files, which are refused, and what programs give their suffix to."""

import re

from e2llm.documents.formats.base import Content, Format
from e2llm.documents.formats.csv import read_csv
from e2llm.documents.formats.html import read_html
from e2llm.documents.formats.refused import OLE_BYTES
from e2llm.documents.formats.xml import read_xml
from e2llm.errors import ReadError

# The stream that holds a workbook, as its container's directory has it.
_STREAMS = tuple(name.encode("utf-16-le") for name in ("Workbook", "Book\0"))


def read_xls(data: bytes, encoding: str | None) -> str | Content:
    """Refuse an old Excel file; read a web page, XML or a table of tabs under its suffix."""
    if data.startswith((OLE_BYTES, b"\x09\x08", b"\x09\x04", b"\x09\x02", b"\x09\x00")):
        raise ReadError("is an old Excel file (.xls): save it as .xlsx or .csv")
    start = data[:1000].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(b"<?xml") and b"<html" not in start:
        return read_xml(data, encoding)
    if re.match(rb"<\W*(?:html|head|meta|table|body|doctype|style|div)", start):
        return read_html(data, encoding)
    return read_csv(data, encoding, "\t;,|")


XLS = Format(
    "xls",
    (".xls", ".xlt"),
    read_xls,
    first_bytes=(OLE_BYTES,),
    looks_like=lambda data: any(name in data for name in _STREAMS),
)
