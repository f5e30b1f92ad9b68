"""PDF: the text of each page."""

import io
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from e2llm.documents.formats.base import Content, Format, import_package
from e2llm.errors import ReadError

_LOGGING_LOCK = threading.Lock()


def read_pdf(data: bytes, encoding: str | None) -> Content:
    """Return the text of each page of a PDF, which may be encrypted with the empty password."""
    pypdf = import_package("pypdf", "pypdf", ".pdf")
    with _silenced("pypdf"):
        try:
            document = pypdf.PdfReader(io.BytesIO(data))
            if document.is_encrypted and not document.decrypt(""):
                raise ReadError(
                    "is encrypted: save it without its password, e.g. qpdf --password=... "
                    "--decrypt IN.pdf OUT.pdf"
                )
            pages = [page.extract_text() for page in document.pages]
        except pypdf.errors.DependencyError as error:
            raise ReadError(
                "is encrypted with AES, which pypdf cannot read alone: pip install cryptography, "
                "or save it without a password"
            ) from error
    if not pages:
        raise ReadError("has no pages: it may be damaged, open it in a viewer and save it again")
    if not any(page.strip() for page in pages):
        raise ReadError(
            "has pages but no text, it may be scanned: run OCR first, e.g. ocrmypdf IN.pdf OUT.pdf"
        )
    return Content(pages, "page")


@contextmanager
def _silenced(name: str) -> Iterator[None]:
    """Keep a library's log off the user's terminal.

    One thread at a time, so that the level put back is the one that was found.
    """
    logger = logging.getLogger(name)
    with _LOGGING_LOCK:
        level = logger.level
        logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            logger.setLevel(level)


PDF = Format("pdf", (".pdf",), read_pdf, first_bytes=(b"%PDF-",))
