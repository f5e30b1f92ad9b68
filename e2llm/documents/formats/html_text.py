"""The text that a web page shows: blocks as lines, lists with their marks, tables as rows."""

import re
from typing import Any

from e2llm.documents.formats.html_parts import (
    control,
    is_invisible,
    linear_math,
    list_mark,
    shifted,
)

# What stands between two pieces of text: the strongest of what lies between them.
SPACE, CELL, LINE, PARAGRAPH = 1, 2, 3, 4
_GAPS = ("", " ", "\t", "\n", "\n\n")
_PARAGRAPHS = (
    "p h1 h2 h3 h4 h5 h6 ul ol dl table pre blockquote section article header footer nav aside "
    "main figure hr title"
)
_LINES = (
    "div li dt dd tr br caption figcaption address form fieldset legend summary details center body"
)
_EDGES = (
    dict.fromkeys(_PARAGRAPHS.split(), PARAGRAPH)
    | dict.fromkeys(_LINES.split(), LINE)
    | {"td": CELL, "th": CELL}
    | dict.fromkeys(("button", "label", "textarea", "select", "img"), SPACE)
)
_MAX_SPAN = 64
_XHTML = "http://www.w3.org/1999/xhtml"
_EMPTY = re.compile(r"<([a-zA-Z][\w:-]*+)([^<>]*)/>")
_VOID = re.compile("area|base|br|col|embed|hr|img|input|link|meta|source|track|wbr", re.IGNORECASE)
# All tags but those whose content is not shown.
_TAG = re.compile(
    r"</?(?!(?:script|style|noscript|template|head|title)\b)[a-z][^<>]*>", re.IGNORECASE
)


def page_text(markup: str, etree: Any) -> str:
    """Return the visible text of a web page; `etree` is lxml's.

    A page whose tags are nested deeper than the parser follows is read without its layout.
    """
    if _XHTML in markup[:4096]:
        markup = _EMPTY.sub(_closed, markup)
    root, errors = _parse(markup, etree)
    if any("depth" in error.message for error in errors):
        root, _ = _parse(_TAG.sub("<br>", markup), etree)
    return "" if root is None else _Writer().write(root)


def _closed(match: re.Match[str]) -> str:
    """Return an empty element of XHTML as HTML has it."""
    return match[0] if _VOID.fullmatch(match[1]) else f"<{match[1]}{match[2]}></{match[1]}>"


def _parse(markup: str, etree: Any) -> tuple[Any, Any]:
    # libxml2's parser takes linear time; Python's own does not for a run of "<!--".
    parser = etree.HTMLParser(encoding="utf-8", huge_tree=True, remove_pis=True)
    root = etree.fromstring(markup.encode("utf-8", "replace") or b" ", parser)
    return root, parser.error_log


class _Writer:
    """Text as it grows, and the gap before what comes next."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.gap = 0
        self.numbers: dict[Any, int] = {}  # per list the number of its next item

    def write(self, root: Any) -> str:
        """Return the text of an element."""
        # A stack, for pages nest deeper than Python recurses; an int in it is the edge of a block,
        # a str is text.
        todo: list[tuple[Any, bool]] = [(root, False)]
        while todo:
            node, verbatim = todo.pop()
            if isinstance(node, int):
                self.gap = max(self.gap, node)
            elif isinstance(node, str):
                self.say(node, verbatim)
            else:
                todo += reversed(self._open(node, verbatim))
        return re.sub(r"\n{3,}", "\n\n", "".join(self.pieces)).strip("\n")

    def _open(self, node: Any, verbatim: bool) -> list[tuple[Any, bool]]:
        """Return what an element is made of, in order."""
        if not isinstance(node.tag, str) or is_invisible(node):  # the first are comments
            return []
        edge = (_EDGES.get(node.tag, 0), False)
        above = node.getparent()
        if node.tag in ("ol", "ul") and above is not None and above.tag == "li":
            edge = (LINE, False)
        written = self._whole(node)
        if written is not None:
            return [edge, (written, "\n" in written), edge]
        verbatim = verbatim or node.tag in ("pre", "textarea")
        inside: list[tuple[Any, bool]] = [(node.text or "", verbatim)]
        if node.tag == "li":
            inside.insert(0, (list_mark(node, self.numbers), True))
        for child in node:
            inside += [(child, verbatim), (child.tail or "", verbatim)]
        return [edge, *inside, edge]

    def _whole(self, node: Any) -> str | None:
        """Return the text of an element that is written at once; None for the others."""
        if node.tag in ("sup", "sub"):
            return shifted(node)
        if node.tag == "math":
            return linear_math(node)
        if node.tag == "table" and _has_header(node):
            return _rows(node)
        return control(node)

    def say(self, text: str, verbatim: bool) -> None:
        """Write a piece of text after the gap that has come together."""
        words = text if verbatim else re.sub(r"[ \t\n\r\f]+", " ", text)
        if not verbatim:
            self.gap = max(self.gap, SPACE if words.startswith(" ") else 0)
            spaced, words = words.endswith(" "), words.strip(" ")
        if words:
            self.pieces.append((_GAPS[self.gap] if self.pieces else "") + words)
            self.gap = SPACE if not verbatim and spaced else 0


def _has_header(table: Any) -> bool:
    """Tell whether a table's first row names its columns, and it lays out nothing."""
    rows = table.iter("tr")
    first = next(rows, None)
    if (
        first is None
        or next(rows, None) is None
        or next(table.iterdescendants("table"), None) is not None
    ):
        return False
    cells = [cell for cell in first if cell.tag in ("td", "th")]
    return len(cells) > 1 and all(cell.tag == "th" for cell in cells)


def _rows(table: Any) -> str:
    """Return a table with a header as lines of Markdown; a cell of several rows is in each."""
    lines = []
    below: dict[int, tuple[int, str]] = {}  # per column: in how many more rows, and what
    captions = [_cell(caption) for caption in table.iter("caption")]
    for row in table.iter("tr"):
        if is_invisible(row):
            continue
        cells: list[str] = []
        for cell in (*(cell for cell in row if cell.tag in ("td", "th")), None):
            while len(cells) in below:
                n_rows, text = below.pop(len(cells))
                if n_rows > 1:
                    below[len(cells)] = (n_rows - 1, text)
                    cells.append(text)
                    continue
                cells.append(text)
            if cell is None:
                break
            text = "" if is_invisible(cell) else _cell(cell)
            if _span(cell, "rowspan") > 1:
                below[len(cells)] = (_span(cell, "rowspan") - 1, text)
            cells += [text] + [""] * (_span(cell, "colspan") - 1)
        lines.append("| " + " | ".join(cells) + " |")
        if len(lines) == 1:
            lines.append("|" + "---|" * len(cells))
    return "\n".join([*captions, *lines])


def _cell(node: Any) -> str:
    inside = _Writer()
    for part, verbatim in inside._open(node, False):
        if not isinstance(part, int):
            inside.say(part, verbatim) if isinstance(part, str) else inside.write(part)
    return " ".join("".join(inside.pieces).split()).replace("|", "\\|")


def _span(cell: Any, name: str) -> int:
    value = cell.get(name, "1").strip()
    return min(int(value), _MAX_SPAN) if re.fullmatch("[1-9][0-9]{0,3}", value) else 1
