"""The file formats that can be read: a file for each, and a line in `FORMATS`.

A program adds one of its own with `FORMATS.append(Format(name, suffixes, read))`. A later format
goes before an earlier one that claims the same suffix or bytes.
"""

from e2llm.checks import name_some
from e2llm.documents.formats.base import Content, Format, Reader
from e2llm.documents.formats.code import CODE
from e2llm.documents.formats.csv import CSV, TSV
from e2llm.documents.formats.docx import DOCX
from e2llm.documents.formats.epub import EPUB
from e2llm.documents.formats.gz import GZ
from e2llm.documents.formats.html import HTML, TEMPLATE
from e2llm.documents.formats.ipynb import IPYNB
from e2llm.documents.formats.json import JSON, JSON_LINES
from e2llm.documents.formats.mail import EML, MBOX, MHTML
from e2llm.documents.formats.markdown import MARKDOWN
from e2llm.documents.formats.odf import ODP, ODT
from e2llm.documents.formats.ods import ODS
from e2llm.documents.formats.pdf import PDF
from e2llm.documents.formats.pptx import PPTX
from e2llm.documents.formats.refused import REFUSED
from e2llm.documents.formats.rtf import RTF
from e2llm.documents.formats.subtitles import SUBTITLES
from e2llm.documents.formats.tex import TEX
from e2llm.documents.formats.text import TEXT
from e2llm.documents.formats.xls import XLS
from e2llm.documents.formats.xlsx import XLSX
from e2llm.documents.formats.xml import XML
from e2llm.documents.formats.yaml import YAML

__all__ = ["FORMATS", "Content", "Format", "Reader", "choose", "names", "suffixes"]

FORMATS: list[Format] = [
    TEXT,
    MARKDOWN,
    HTML,
    TEMPLATE,
    PDF,
    DOCX,
    EPUB,
    EML,
    MBOX,
    MHTML,
    GZ,
    PPTX,
    ODT,
    ODP,
    RTF,
    XLSX,
    ODS,
    XLS,
    CSV,
    TSV,
    JSON,
    JSON_LINES,
    YAML,
    XML,
    IPYNB,
    SUBTITLES,
    TEX,
    CODE,
]


def names() -> str:
    """List the formats for people, at most eight of them by name."""
    return name_some((known.name for known in FORMATS), "e2llm.documents.formats.FORMATS")


def suffixes() -> set[str]:
    """Return every suffix that tells a format, with its dot and in lower case."""
    return {suffix for known in FORMATS for suffix in known.suffixes}


def choose(data: bytes, suffix: str) -> Format:
    """Return the format of a file: its first bytes tell it, then its suffix; what is left is text.

    Args:
        data: The file's content.
        suffix: The end of its name from the dot on, in lower case; empty where there is none.

    Raises:
        ReadError: It is a zip that is damaged or too large.
    """
    newest_first = FORMATS[::-1]
    for known in (*newest_first, *REFUSED):
        if data.startswith(known.first_bytes) and (not known.looks_like or known.looks_like(data)):
            return known
    for known in newest_first:
        if suffix in known.suffixes:
            return known
        if not suffix and not known.first_bytes and known.looks_like and known.looks_like(data):
            return known
    return TEXT
