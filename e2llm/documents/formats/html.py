"""Web pages: their visible text, decoded as they declare."""

import codecs
import re
import warnings
from typing import Any

from e2llm.documents.formats.base import Format, import_package
from e2llm.documents.formats.encoding import decode, marked_encoding

# What stands between two pieces of text: the strongest of what lies between them.
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
_INVISIBLE = ("script", "style", "noscript", "template")
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


def read_html(data: bytes, encoding: str | None) -> str:
    """Return the visible text of a web page.

    Blocks end in line breaks, table cells in tabs; other white space is one space.
    """
    bs4 = import_package("bs4", "beautifulsoup4", ".html")
    markup = decode(data, encoding or marked_encoding(data) or _declared_encoding(data))
    with warnings.catch_warnings():
        # It guesses that XHTML is meant for another parser, and that short text is a file's name.
        warnings.simplefilter("ignore")
        soup = bs4.BeautifulSoup(markup, "html.parser")

    pieces: list[str] = []
    gap = 0
    # A stack, for pages nest deeper than Python recurses; an int in it is the edge of a block.
    todo: list[tuple[Any, bool]] = [(soup, False)]
    while todo:
        node, verbatim = todo.pop()
        if isinstance(node, int):
            gap = max(gap, node)
        elif isinstance(node, bs4.Tag):
            if node.name not in _INVISIBLE:
                edge = (_EDGES.get(node.name, 0), False)
                inside = verbatim or node.name == "pre"
                # The last is taken first: the children in reverse, between the two edges of their
                # block.
                todo += [edge, *((child, inside) for child in reversed(node.contents)), edge]
        elif not isinstance(node, bs4.element.PreformattedString):  # comments and declarations
            words = node if verbatim else re.sub(r"[ \t\n\r\f]+", " ", node)
            if not verbatim:
                gap = max(gap, SPACE if words.startswith(" ") else 0)
                spaced, words = words.endswith(" "), words.strip(" ")
            if words:
                pieces.append((_GAPS[gap] if pieces else "") + words)
                gap = SPACE if not verbatim and spaced else 0
    return re.sub(r"\n{3,}", "\n\n", "".join(pieces)).strip("\n")


def _declared_encoding(data: bytes) -> str:
    bs4_dammit = import_package("bs4.dammit", "beautifulsoup4", ".html")
    declared = bs4_dammit.EncodingDetector.find_declared_encoding(data, is_html=True) or "utf-8"
    try:
        name = codecs.lookup(declared).name
        # Fails for base64 and the like, and for UTF-16 and UTF-32, in which a declaration that
        # reads as ASCII cannot be.
        b" ".decode(name)
    except (LookupError, ValueError):
        return "utf-8"
    return _WEB_ENCODINGS.get(name, name)


HTML = Format(
    "html",
    (".html", ".htm", ".xhtml"),
    read_html,
    looks_like=lambda data: _START.match(data) is not None,
)
