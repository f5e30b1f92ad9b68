"""PDF, by PDFium: the text of each page with its form's values, and the notes on it."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Iterator
from typing import Any

from e2llm.documents.formats.base import Content, Format, import_package
from e2llm.documents.formats.pdf_page import Page
from e2llm.documents.formats.running import blind, drop_running, running_lines
from e2llm.errors import ReadError

MAX_PAGES = 100_000
MAX_LOST = 1000  # in a row: a file that only claims to have them
START_SECONDS = 60.0  # on a machine that is busy Python alone takes seconds
PAGE_SECONDS = 8.0  # a page that takes longer is one that never ends
# Of a document whose fonts do not tell more than this share of its characters, nothing is read.
MAX_UNMAPPED_SHARE = 0.3
_OCR = "run OCR first, e.g. ocrmypdf {}IN.pdf OUT.pdf"
_REFUSED = {
    "encrypted": "is encrypted: save it without its password, e.g. qpdf --password=... --decrypt "
    "IN.pdf OUT.pdf",
    "damaged": "has no pages that can be read, it may be damaged: open it in a viewer and save it "
    "again, e.g. by printing it to a PDF",
}


def read_pdf(data: bytes, encoding: str | None) -> Content:
    """Return the text of each page of a PDF, which may be encrypted with the empty password."""
    import_package("pypdfium2", "pypdfium2", ".pdf")
    lines = _run(data)
    first = next(lines, {})
    if "n_pages" not in first:
        raise ReadError(_REFUSED[first.get("refused", "damaged")])
    n_pages = first["n_pages"]
    if not n_pages:
        raise ReadError(_REFUSED["damaged"])
    if n_pages > MAX_PAGES:
        raise ReadError(f"has {n_pages:,} pages, over the limit of {MAX_PAGES:,}: split it")
    pages: list[Page] = []
    for line in lines:
        if len(pages) == n_pages:
            break
        pages.append(Page(**line))
        if len(pages) > MAX_LOST and all(page.is_lost for page in pages[-MAX_LOST:]):
            raise ReadError(_REFUSED["damaged"])
    else:
        raise ReadError(
            f"cannot be read at page {len(pages) + 1} of {n_pages}, which takes too long or too "
            "much memory: print it to a new PDF, or leave that page out"
        )
    lines.close()
    if all(page.is_lost for page in pages):
        raise ReadError(_REFUSED["damaged"])
    notices = (*_notices(pages), *_file_notices(**line))
    texts = drop_running([page.text for page in pages])
    notes = ["".join(f"\n\nNote: {note}" for note in page.notes) for page in pages]
    return Content([text + note for text, note in zip(texts, notes, strict=True)], "page", notices)


def _run(data: bytes) -> Generator[dict[str, Any], None, None]:
    """Yield what `pdf_process` writes, and end it where it writes nothing for too long."""
    command = [sys.executable, "-c", "from e2llm.documents.formats.pdf_process import main; main()"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        process = subprocess.Popen(
            command,
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
    assert process.stdout is not None
    seconds = START_SECONDS
    try:
        while True:
            timer = threading.Timer(seconds, process.kill)
            timer.start()
            line = process.stdout.readline()
            timer.cancel()
            if not line.endswith(b"\n"):
                return
            yield json.loads(line)
            seconds = PAGE_SECONDS
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def _notices(pages: list[Page]) -> Iterator[str]:
    """Yield what was not read of the pages; raise `ReadError` where that is all of them."""
    n_chars = sum(page.n_chars for page in pages)
    n_unmapped = sum(page.n_unmapped for page in pages)
    stamps = running_lines([page.text for page in pages])
    pictures = [
        number
        for number, page in enumerate(pages, 1)
        if page.has_pictures
        and not any(
            line.strip() and blind(line) not in stamps and blind(line) != "#"
            for line in page.text.split("\n")
        )
    ]
    n_empty = sum(not page.text.strip() for page in pages)
    if len(pictures) + sum(
        not page.has_pictures and not page.text.strip() for page in pages
    ) == len(pages):
        stamped = " but what is stamped on its pages" if n_empty < len(pages) else ""
        raise ReadError(f"has pages but no text{stamped}, it may be scanned: {_OCR.format('')}")
    if n_unmapped > MAX_UNMAPPED_SHARE * n_chars:
        raise ReadError(
            f"does not say which characters its fonts draw ({n_unmapped:,} of {n_chars:,}): "
            + _OCR.format("--force-ocr ")
        )
    if pictures:
        are = "it is a picture" if len(pictures) == 1 else "they are pictures"
        yield f"{_pages(pictures, len(pages))} no text: {are}; {_OCR.format('')}"
    lost = [number for number, page in enumerate(pages, 1) if page.is_lost]
    if lost:
        yield f"{_pages(lost, len(pages))} nothing that can be read, for the file is damaged"
    if n_unmapped:
        yield (
            f"{n_unmapped:,} of {n_chars:,} characters became \ufffd: its fonts do not say which "
            "they are"
        )


def _file_notices(has_xfa: bool, files: list[str]) -> Iterator[str]:
    """Yield what was not read beside the pages."""
    if has_xfa:
        yield "its XFA form is not read: print it to a PDF, and give that"
    for name in files:
        yield f"the file {name!r} in it is not read: save it, and give it too"


def _pages(numbers: list[int], n_pages: int) -> str:
    """Return page numbers as people write them: "pages 2-6, 9 of 12 hold"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    shown = ", ".join("-".join(map(str, run)) for run in runs[:8])
    more = " ..." if len(runs) > 8 else ""
    if len(numbers) == 1:
        return f"page {shown} of {n_pages} holds"
    return f"pages {shown}{more} of {n_pages} hold"


PDF = Format("pdf", (".pdf",), read_pdf, first_bytes=(b"%PDF-",))
