"""Read a file into plain text: the first step of every document, before chunking.

The content's first bytes decide the format, then the suffix: a `.txt` that starts with `%PDF-` is a
PDF. Everything unknown is text. No file can run code: no pickle, no external entities. Word
headers, footers, notes and comments are not read.

Standard input (`-`, `/dev/stdin`) and the pipe of a process substitution (`<(command)`, which is
`/dev/fd/N`) are read, for this process holds them open already. A named pipe or a device is refused
without being opened, because that could block for ever.
"""

import codecs
import importlib
import io
import logging
import os
import re
import stat
import sys
import threading
import warnings
import zipfile
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from e2llm.errors import E2LLMError, MissingPackageError, ReadError, UserError

# A reader turns (content, encoding or None) into text, or into one text per page. Formats that
# state their own encoding ignore the argument. The message of a ReadError it raises starts with the
# verb: `read` puts the file's name before it.
Reader = Callable[[bytes, str | None], str | list[str]]

# What people are told can be read.
FORMATS = "txt, md, html, pdf, docx"
PAGE_SEPARATOR = "\n\n"
MAX_UNZIPPED_BYTES = 2**30


@dataclass(frozen=True)
class Source:
    """Plain text of one file, with the character offset at which each page starts where the format
    has pages.
    """

    name: str  # the file's name without its folder; "stdin" for "-"
    text: str
    page_starts: tuple[
        int, ...
    ] = ()  # page_starts[i] is the offset of page i + 1; only PDF has pages

    def page_at(self, offset: int) -> int | None:
        """Return the 1-based page that holds the character at `offset`; None where there are no
        pages.
        """
        return page_at(self.page_starts, offset)


def page_at(page_starts: Sequence[int], offset: int) -> int | None:
    """Return the 1-based page that holds the character at `offset`; None where there are no pages
    or `offset` is before the first.
    """
    return bisect_right(page_starts, offset) or None


def read(path: str | os.PathLike[str], encoding: str | None = None) -> Source:
    """Read the file at `path` ("-" is standard input) into text whose only line break is a line
    feed.

    `encoding` overrides what the bytes say; without it text is UTF-8, or UTF-16 or UTF-32 with a
    byte order mark, and HTML is what it declares.

    Raises:
        ReadError: the file is missing, empty, binary, damaged, encrypted, without text or in
            another encoding.
        UserError: Python knows no encoding of that name.
        MissingPackageError: the format needs a package of the extra `documents`.
    """
    path = os.fspath(path)
    shown = (
        "standard input" if path == "-" else repr(path)
    )  # repr keeps line breaks and undecodable bytes of a name out of the message
    if encoding is not None:
        _decode(b"", encoding)
    try:
        data = _load(path)
        if not data:
            raise ReadError("is empty: give a file that has text")
        reader = READERS.get(_format(data, os.path.splitext(path)[1].lower()), read_text)
        content = reader(data, encoding)
    except ReadError as error:
        raise ReadError(f"{shown} {error}") from error
    except (E2LLMError, MemoryError):
        raise
    except Exception as error:  # parsers fail on damaged files with whatever comes: KeyError, RecursionError, struct.error ...
        raise ReadError(
            f"{shown} cannot be parsed ({type(error).__name__}), it may be damaged: open it "
            "in its program and save it again"
        ) from error

    pages = [_clean(page) for page in ([content] if isinstance(content, str) else content)]
    text = PAGE_SEPARATOR.join(pages)
    if not text.strip():
        raise ReadError(
            f"{shown} has no text, only white space or mark-up: give a file that has text"
        )
    starts = [0]
    for page in pages[:-1]:
        starts.append(starts[-1] + len(page) + len(PAGE_SEPARATOR))
    # A name is shown, stored and read by the decoder: what is no printable character of one line is
    # a question mark there.
    name = (
        "stdin"
        if path == "-"
        else re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", "?", os.path.basename(path))
    )
    return Source(name, text, () if isinstance(content, str) else tuple(starts))


def _load(path: str) -> bytes:
    try:
        if path in ("-", "/dev/stdin"):
            stream = getattr(
                sys.stdin, "buffer", None
            )  # None where the process was started with standard input closed
            if stream is None:
                raise ReadError("is closed: pipe some text into it, or name a file")
            return stream.read()
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise ReadError(f"is a directory: give its files, e.g. {os.path.join(path, '*.txt')!r}")
        if not stat.S_ISREG(mode):
            descriptor = re.fullmatch(r"/(?:dev|proc/self)/fd/(\d+)", path)
            if not (descriptor and stat.S_ISFIFO(mode)):
                raise ReadError(
                    "is a pipe or a device, not a file: send its content to standard input "
                    "and give '-'"
                )
            with open(int(descriptor[1]), "rb", closefd=False) as pipe:
                return pipe.read()
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError as error:
        raise ReadError("does not exist: check the path") from error
    except PermissionError as error:
        raise ReadError(
            "may not be read by this user: change its permissions, e.g. with chmod"
        ) from error
    except ReadError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a path that holds a NUL
        raise ReadError(
            f"cannot be opened ({getattr(error, 'strerror', None) or error}): check the path"
        ) from error


def _format(data: bytes, suffix: str) -> str:
    """Return the suffix that tells the format of `data`; the one given is believed only where the
    bytes do not say otherwise.
    """
    if data.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):  # OLE, the container of both
        raise ReadError(
            "is an old Office file (.doc) or an encrypted one: save it as .docx without a password"
        )
    if data.startswith(b"%PDF-"):
        return ".pdf"
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return ".docx"
    if not suffix and re.match(
        rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?<(?:!doctype\s+html|html)\b", data, re.IGNORECASE
    ):
        return ".html"
    return suffix


def _clean(text: str) -> str:
    """Normalise line breaks, and replace what no tokenizer or database takes: NUL and lone
    surrogates (whole pairs become their character).
    """
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")


def _import(module: str, package: str, suffix: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            f"reading {suffix} needs {package}: pip install 'e2llm[documents]'"
        ) from error


# The longer marks come first: UTF-16's little-endian mark is a prefix of UTF-32's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def _marked_encoding(data: bytes) -> str | None:
    return next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)


def _decode(data: bytes, encoding: str) -> str:
    try:
        name = codecs.lookup(encoding).name  # decoding no bytes would accept any name
        text = data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        if b"\0" in data and name == "utf-8":
            raise ReadError("is a binary file: convert it to text first") from error
        byte = f"byte 0x{data[error.start]:02x} at offset {error.start}"
        raise ReadError(
            f"is not {encoding.upper()} ({byte}): name its encoding, e.g. --encoding latin-1"
        ) from error
    except (LookupError, ValueError) as error:
        raise UserError(
            f"encoding (={encoding!r}) is not a text encoding that Python knows: use e.g. "
            "utf-8, latin-1 or cp1252"
        ) from error
    if "\0" in text:
        raise ReadError(
            "has NUL characters, so it is binary or UTF-16 without a mark: convert it to "
            "text, or give --encoding utf-16-le"
        )
    return text


def read_text(data: bytes, encoding: str | None) -> str:
    """Decode plain text."""
    return _decode(data, encoding or _marked_encoding(data) or "utf-8")


SPACE, CELL, LINE, PARAGRAPH = 1, 2, 3, 4
_GAPS = ("", " ", "\t", "\n", "\n\n")
_PARAGRAPHS = (
    "p h1 h2 h3 h4 h5 h6 ul ol dl table pre blockquote section article header footer nav aside "
    "main figure hr title"
)
_LINES = (
    "div li dt dd tr br caption figcaption address form fieldset legend option summary details "
    "center body"
)
_EDGES = (
    dict.fromkeys(_PARAGRAPHS.split(), PARAGRAPH)
    | dict.fromkeys(_LINES.split(), LINE)
    | {"td": CELL, "th": CELL}
)
# What a page declares and what browsers decode it as (https://encoding.spec.whatwg.org): the larger
# set that is meant.
_WEB_ENCODINGS = (
    dict.fromkeys(("ascii", "iso8859-1"), "cp1252")
    | dict.fromkeys(("gb2312", "gbk"), "gb18030")
    | {"iso8859-9": "cp1254", "shift_jis": "cp932", "euc_kr": "cp949", "tis-620": "cp874"}
)


def _declared_encoding(data: bytes) -> str:
    bs4_dammit = _import("bs4.dammit", "beautifulsoup4", ".html")
    declared = bs4_dammit.EncodingDetector.find_declared_encoding(data, is_html=True) or "utf-8"
    try:
        name = codecs.lookup(declared).name
        b" ".decode(
            name
        )  # fails for UTF-16 and UTF-32, in which a declaration that reads as ASCII cannot be, and for base64 and the like
    except (LookupError, ValueError):
        return "utf-8"
    return _WEB_ENCODINGS.get(name, name)


def read_html(data: bytes, encoding: str | None) -> str:
    """Return the visible text of a web page: blocks end in line breaks, table cells in tabs, other
    white space is one space.
    """
    bs4 = _import("bs4", "beautifulsoup4", ".html")
    markup = _decode(data, encoding or _marked_encoding(data) or _declared_encoding(data))
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # it guesses that XHTML is meant for another parser, and that short text is a file's name
        soup = bs4.BeautifulSoup(markup, "html.parser")

    pieces: list[str] = []
    gap = 0
    todo: list[tuple[Any, bool]] = [
        (soup, False)
    ]  # a stack, for pages nest deeper than Python recurses; an int in it is the edge of a block
    while todo:
        node, verbatim = todo.pop()
        if isinstance(node, int):
            gap = max(gap, node)
        elif isinstance(node, bs4.Tag):
            if node.name not in ("script", "style", "noscript", "template"):
                edge = (_EDGES.get(node.name, 0), False)
                todo += [
                    edge,
                    *((child, verbatim or node.name == "pre") for child in reversed(node.contents)),
                    edge,
                ]
        elif not isinstance(
            node, bs4.element.PreformattedString
        ):  # which are comments and declarations
            words = node if verbatim else re.sub(r"[ \t\n\r\f]+", " ", node)
            if not verbatim:
                gap = max(gap, SPACE if words.startswith(" ") else 0)
                spaced, words = words.endswith(" "), words.strip(" ")
            if words:
                pieces.append((_GAPS[gap] if pieces else "") + words)
                gap = SPACE if not verbatim and spaced else 0
    return re.sub(r"\n{3,}", "\n\n", "".join(pieces)).strip("\n")


_LOGGING_LOCK = threading.Lock()


@contextmanager
def _silenced(name: str) -> Iterator[None]:
    """Keep a library's log off the user's terminal; one thread at a time, so that the level put
    back is the one that was found.
    """
    logger = logging.getLogger(name)
    with _LOGGING_LOCK:
        level = logger.level
        logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            logger.setLevel(level)


def read_pdf(data: bytes, encoding: str | None) -> list[str]:
    """Return the text of each page of a PDF, which may be encrypted with the empty password."""
    pypdf = _import("pypdf", "pypdf", ".pdf")
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
                "is encrypted with AES, which pypdf cannot read alone: pip install "
                "cryptography, or save it without a password"
            ) from error
    if not pages:
        raise ReadError("has no pages: it may be damaged, open it in a viewer and save it again")
    if not any(page.strip() for page in pages):
        raise ReadError(
            "has pages but no text, it may be scanned: run OCR first, e.g. ocrmypdf IN.pdf OUT.pdf"
        )
    return pages


_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
# What is not part of the text as it stands: deletions, the old place of what moved, and the copy of
# a text box for old programs.
_SKIPPED = {
    _WORD + "del",
    _WORD + "moveFrom",
    "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback",
}


def read_docx(data: bytes, encoding: str | None) -> str:
    """Return a Word document's paragraphs, tables (a line per row, tabs between cells) and text
    boxes, in document order.
    """
    docx = _import("docx", "python-docx", ".docx")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unzipped_bytes = sum(member.file_size for member in archive.infolist())
            is_office = "[Content_Types].xml" in archive.namelist()
    except zipfile.BadZipFile as error:
        raise ReadError(
            "is a damaged .docx or zip: open it in its program and save it again"
        ) from error
    if unzipped_bytes > MAX_UNZIPPED_BYTES:
        raise ReadError(
            f"unzips to {unzipped_bytes:,} bytes, over the limit of {MAX_UNZIPPED_BYTES:,}: "
            "split it, or save it as text"
        )
    if not is_office:
        raise ReadError("is a zip, not a .docx: unzip it and give its files")
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
    """Yield the runs of a paragraph, those in links, content controls and tracked insertions
    included.
    """
    for child in element:
        if child.tag == _WORD + "r":
            yield child
            yield from child.xpath("./w:ruby/w:rubyBase/w:r")
        elif child.tag not in _SKIPPED:
            yield from _runs(child)


READERS: dict[str, Reader] = {
    **dict.fromkeys((".txt", ".md", ".rst", ".py"), read_text),
    **dict.fromkeys((".html", ".htm", ".xhtml"), read_html),
    ".pdf": read_pdf,
    ".docx": read_docx,
}
