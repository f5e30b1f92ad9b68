"""Files that their first bytes tell and that no format reads: they end in advice."""

from typing import NoReturn

from e2llm.documents.formats.base import Format
from e2llm.documents.formats.binaries import BINARIES
from e2llm.documents.formats.zipped import ZIP_BYTES
from e2llm.errors import ReadError

OLE_BYTES = (
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # the container of old and of encrypted Office files
)
# What lies in that container, by the name of the stream that has it.
_STREAMS = {
    "EncryptedPackage": "is encrypted: save it without a password",
    "WordDocument": "is an old Word file (.doc): save it as .docx",
    "PowerPoint Document": "is an old PowerPoint file (.ppt): save it as .pptx",
    "Workbook": "is an old Excel file (.xls): save it as .xlsx",
    "__substg1.0_": "is an Outlook message (.msg): save it as .eml or as text",
}


def refuse_ole(data: bytes, encoding: str | None) -> NoReturn:
    """Say what to do with an old or an encrypted Office file."""
    for stream, advice in _STREAMS.items():
        if stream.encode("utf-16-le") in data:
            raise ReadError(advice)
    raise ReadError(
        "is an old Office file (.doc) or an encrypted one: save it as .docx without a password"
    )


def refuse_zip(data: bytes, encoding: str | None) -> NoReturn:
    """Say what to do with a zip in which no format lies."""
    raise ReadError(
        "is a zip, not a .docx or another document that is read: unzip it and give its files"
    )


REFUSED = (
    Format("doc", (), refuse_ole, first_bytes=(OLE_BYTES,)),
    Format("zip", (), refuse_zip, first_bytes=ZIP_BYTES),
    *BINARIES,
)
