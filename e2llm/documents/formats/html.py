"""Web pages: their visible text, decoded as they declare."""

import codecs
import re

from e2llm.documents.formats.base import Content, Format, import_package
from e2llm.documents.formats.encoding import decode_any
from e2llm.documents.formats.html_text import page_text
from e2llm.errors import ReadError

# What a page declares and what browsers decode it as (https://encoding.spec.whatwg.org): the larger
# set that is meant.
_WEB_ENCODINGS = (
    dict.fromkeys(("ascii", "iso8859-1"), "cp1252")
    | dict.fromkeys(("gb2312", "gbk"), "gb18030")
    | {"iso8859-9": "cp1254", "shift_jis": "cp932", "euc_kr": "cp949", "tis-620": "cp874"}
)
_START = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?<(?:!doctype\s+html|html)\b", re.IGNORECASE
)
# Where browsers look for a declaration.
_HEAD_BYTES = 4096
_DECLARED = re.compile(
    rb"""<\?xml[^>]{0,200}?encoding\s*=\s*["']([\w.:-]+)|<meta[^>]{0,400}?charset\s*=\s*["']?([\w.:-]+)""",
    re.IGNORECASE,
)
_FRAMES = re.compile("<(iframe|frame|canvas|embed|object)[ >]", re.IGNORECASE)
_PROGRAM = re.compile(r"<\?(?!xml).*?(?:\?>|\Z)|<%.*?(?:%>|\Z)", re.DOTALL)


def read_html(data: bytes, encoding: str | None) -> Content:
    """Return the visible text of a web page.

    Raises:
        ReadError: It has no text, but what a program or another page draws in it.
    """
    markup, notices = decode_any(data, encoding, declared_encoding(data))
    return Content([_text_of(markup)], None, notices)


def read_template(data: bytes, encoding: str | None) -> Content:
    """Return the text of a page that a server completes, or its program where that is all."""
    markup, notices = decode_any(data, encoding, declared_encoding(data))
    page, n_programs = _PROGRAM.subn("", markup)
    if not page.strip():
        return Content([markup], None, notices)
    if n_programs:
        what = "1 program" if n_programs == 1 else f"{n_programs:,} programs"
        notices = (*notices, f"{what} in it left out, with all that a server writes in place of it")
    return Content([_text_of(page)], None, notices)


def _text_of(markup: str) -> str:
    text = page_text(markup, import_package("lxml.etree", "lxml", ".html"))
    frame = None if text.strip() else _FRAMES.search(markup)
    if frame:
        raise ReadError(
            f"has no text of its own, only <{frame[1].lower()}>: open it in a browser, and save "
            "what it shows"
        )
    return text


def declared_encoding(data: bytes) -> str | None:
    """Return the encoding that a page says it is in; None where it says none that can be."""
    declared = _DECLARED.search(data[:_HEAD_BYTES])
    if not declared:
        return None
    try:
        name = codecs.lookup((declared[1] or declared[2]).decode("ascii")).name
        # Fails for base64 and the like, and for UTF-16 and UTF-32, in which a declaration that
        # reads as ASCII cannot be.
        b" ".decode(name)
    except (LookupError, ValueError):
        return None
    return _WEB_ENCODINGS.get(name, name)


HTML = Format(
    "html",
    (".html", ".htm", ".xhtml"),
    read_html,
    looks_like=lambda data: _START.match(data) is not None,
)
TEMPLATE = Format("php", (".php", ".aspx", ".asp", ".jsp"), read_template)
