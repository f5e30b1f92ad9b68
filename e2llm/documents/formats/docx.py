"""Word files: paragraphs, tables and text boxes; no headers, footers, notes or comments."""

import io
from collections.abc import Iterator
from typing import Any

from e2llm.documents.formats.base import Format, import_package
from e2llm.documents.formats.refused import refuse_zip
from e2llm.documents.formats.zipped import ZIP_BYTES, open_archive
from e2llm.errors import ReadError

_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
# What is not part of the text as it stands: deletions, the old place of what moved, and the copy of
# a text box for old programs.
_SKIPPED = {
    _WORD + "del",
    _WORD + "moveFrom",
    "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback",
}


def read_docx(data: bytes, encoding: str | None) -> str:
    """Return a Word document's paragraphs, tables and text boxes, in document order.

    A table has a line per row and tabs between its cells.
    """
    docx = import_package("docx", "python-docx", ".docx")
    if not _is_office(data):  # which raises where it is damaged or too large to be unzipped
        refuse_zip(data, encoding)
    try:
        document = docx.Document(io.BytesIO(data))
    except ValueError as error:
        raise ReadError("is an Office file but not a .docx: save it as .docx or as text") from error
    return "\n\n".join(_blocks(document.element.body))


def _blocks(element: Any) -> Iterator[str]:
    """Yield the paragraphs and tables in a WordprocessingML element.

    The XML is walked because `iter_inner_content` skips content controls and tracked insertions,
    and repeats merged cells.
    """
    for child in element:
        if child.tag == _WORD + "p":
            if text := "".join(run.text for run in _runs(child)).strip():
                yield text
            for box in child.xpath(".//w:txbxContent[not(ancestor::*[local-name()='Fallback'])]"):
                yield from _blocks(box)
        elif child.tag == _WORD + "tbl":
            rows = [
                row.xpath("./w:tc | ./w:sdt/w:sdtContent/w:tc")
                for row in child.xpath("./w:tr | ./w:sdt/w:sdtContent/w:tr")
            ]
            yield "\n".join("\t".join("\n".join(_blocks(cell)) for cell in cells) for cells in rows)
        elif child.tag not in _SKIPPED:
            yield from _blocks(child)


def _runs(element: Any) -> Iterator[Any]:
    """Yield the runs of a paragraph, with those in links, content controls and insertions."""
    for child in element:
        if child.tag == _WORD + "r":
            yield child
            # Ruby text: the characters themselves, without the pronunciation beside them.
            yield from child.xpath("./w:ruby/w:rubyBase/w:r")
        elif child.tag not in _SKIPPED:
            yield from _runs(child)


def _is_office(data: bytes) -> bool:
    """Say whether a zip is an Office file, of which Word's are the only ones that are read."""
    with open_archive(data) as archive:
        return "[Content_Types].xml" in archive.namelist()


DOCX = Format("docx", (".docx",), read_docx, first_bytes=ZIP_BYTES, looks_like=_is_office)
