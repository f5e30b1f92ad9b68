"""Files for the tests to read, and the error that reading a bad one raises."""

import os
from pathlib import Path

import docx
import pypdf
import pytest
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from pypdf.generic import DictionaryObject, NameObject, StreamObject

from e2llm.documents.reading import read
from e2llm.errors import ReadError


def write_pdf(path: Path, pages: list[str], password: str | None = None) -> Path:
    """Write one page per text; an empty text is a page without any."""
    writer = pypdf.PdfWriter()
    font = DictionaryObject(
        {
            NameObject(f"/{k}"): NameObject(f"/{v}")
            for k, v in {"Type": "Font", "Subtype": "Type1", "BaseFont": "Helvetica"}.items()
        }
    )
    for text in pages:
        page = writer.add_blank_page(612, 792)
        page[NameObject("/Resources")] = DictionaryObject(
            {NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})}
        )
        stream = StreamObject()
        stream.set_data(
            f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode() if text else b"0 0 612 792 re f"
        )
        page[NameObject("/Contents")] = writer._add_object(stream)
    if password is not None:
        writer.encrypt(user_password=password, owner_password="owner", algorithm="RC4-128")
    writer.write(path)
    return path


def write_docx(path: Path, *body_xml: str) -> Path:
    """Write a Word file whose body is the given WordprocessingML."""
    document = docx.Document()
    for xml in body_xml:
        document.element.body.insert(
            len(document.element.body) - 1, parse_xml(xml.replace(">", f" {nsdecls('w')}>", 1))
        )
    document.save(str(path))
    return path


def error_of(path: Path | str, encoding: str | None = None) -> str:
    """Return the message of the error that reading raises; check what holds for every such one."""
    with pytest.raises(ReadError) as caught:
        read(path, encoding)
    message = str(caught.value)
    assert os.path.basename(path) in message
    assert len(message.splitlines()) == 1
    assert ": " in message
    return message
