"""Rich Text Format: text, notes, tables, list labels; pictures and objects are counted."""

import codecs
import re
from dataclasses import dataclass, replace

from e2llm.documents.formats.base import Content, Format
from e2llm.documents.formats.office.left_out import LeftOut
from e2llm.documents.formats.office.line import LOWERED, RAISED
from e2llm.documents.formats.office.rtf_text import RtfText
from e2llm.documents.formats.office.rtf_words import (
    BOXES,
    CHARSETS,
    LABELS,
    MARGINS,
    MATH,
    NOTES,
    READ,
    SKIPPED,
    SPECIAL,
    SYMBOL_CHARSET,
)
from e2llm.documents.formats.office.symbols import symbol

_TOKEN = re.compile(
    r"\\([a-zA-Z]{1,32})(-?\d{1,9})? ?|\\'([0-9a-fA-F]{2})|\\([^a-zA-Z])|([{}])|([^\\{}\r\n]+)"
    r"|[\r\n]+|\\",
    re.DOTALL,
)
_COUNTED = {"pict": "picture", "object": "embedded object"}
_TEXTS = NOTES | MARGINS | BOXES | LABELS
_UNMARKED = READ | _TEXTS | {"fonttbl"}
_LAYOUT = {
    *("par", "sect", "page", "pard", "intbl", "outlinelevel", "cell", "nestcell", "row", "trhdr"),
    "chpgn",
}
_LOOKS = {
    *("u", "uc", "f", "fcharset", "ansicpg", "plain", "v", "deleted", "super", "up", "sub", "dn"),
    *("nosupersub", "ud", "upr"),
}
# All other words say how a text looks, and are most of a file.
_KNOWN = {
    *(SKIPPED | _UNMARKED | _LAYOUT | _LOOKS | {"annotation", "bin"}),
    *(*MATH, *SPECIAL, *_COUNTED),
}


@dataclass(frozen=True)
class _State:
    """What holds in a group, and ends with it."""

    skipped: bool = False
    kind: str = ""  # the word by which the group holds another text: a note, a header ...
    hidden: bool = False
    deleted: bool = False
    mark: str = ""
    font: int = -1
    n_skipped: int = 1  # characters behind one in Unicode, for programs that lack it
    # A text for programs without Unicode is skipped, until the same follows behind `ud`.
    awaits_unicode: bool = False
    end: str = ""  # what an equation's part ends with


def read_rtf(data: bytes, encoding: str | None) -> Content:
    """Return the text of an RTF file, in pages where it has breaks between pages."""
    return _Reader(data.decode("latin-1"), encoding).read()


class _Reader:
    """Reads one file, token by token.

    Args:
        source: Its bytes as Latin-1, for they are decoded font by font.
        encoding: Of text in fonts that name none; None for what the file says.
    """

    def __init__(self, source: str, encoding: str | None) -> None:
        self.source = source
        self.encoding = encoding or "cp1252"
        self.is_given = encoding is not None
        self.left_out = LeftOut()
        self.state = _State()
        self.states: list[_State] = []
        self.texts = [RtfText()]
        self.margins: dict[str, dict[str, None]] = {"header": {}, "footer": {}}
        self.fonts: dict[int, tuple[int, str]] = {}  # character set and name
        self.in_fonts = False
        self.marked = False  # behind \*: the next word decides whether the group is text
        self.n_to_skip = 0
        self.bytes = bytearray()  # read and not decoded yet

    def read(self) -> Content:
        """Return the file's text and what is not read of it."""
        at, depth, whole = 0, 0, self.source.startswith("{\\rtf")
        while match := _TOKEN.match(self.source, at):
            at = match.end()
            word, number, hexed, sign, brace, text = match.groups()
            if word is not None:
                at += self._word(word, None if number is None else int(number))
            elif hexed is not None:
                self._bytes(bytes([int(hexed, 16)]))
            elif text is not None:
                self._bytes(text.encode("latin-1"))
            elif sign is not None:
                self._sign(sign)
            elif brace == "{":
                self._open()
                depth += 1
            elif brace == "}":
                self._close()
                depth -= 1
                if depth <= 0 and whole:
                    break  # what follows the document's own group is none of it
        self._flush()
        while self.states:
            self._close()
        parts = self.texts[0].end().parts()
        for kind, at_ in (("header", 0), ("footer", -1)):
            if words := "\n\n".join(self.margins[kind]):
                pieces = (words, parts[at_]) if kind == "header" else (parts[at_], words)
                parts[at_] = "\n\n".join(filter(None, pieces))
        return Content(parts, "page" if len(parts) > 1 else None, self.left_out.notices())

    def _open(self) -> None:
        self._flush()
        self.n_to_skip = 0
        self.states.append(self.state)
        self.state = replace(self.state, kind="", end="")

    def _close(self) -> None:
        """End a group, and with it the text that it holds."""
        self._flush()
        self.n_to_skip = 0
        if not self.states:
            return
        closed, self.state = self.state, self.states.pop()
        if closed.end:
            self._add(closed.end)
        if closed.kind == "fonttbl":
            self.in_fonts = False
        elif closed.kind in LABELS:
            label = self.texts.pop().end().flat()
            self.texts[-1].label = label
        elif closed.kind:
            blocks = self.texts.pop().end()
            if closed.kind in NOTES:
                if words := " ".join(blocks.flat().split()):
                    self._add(f" [note: {words}]")
            elif closed.kind in BOXES:
                self.texts[-1].boxes.extend(blocks)
            elif text := blocks.text():
                self.margins[closed.kind[:6]][text] = None

    def _sign(self, sign: str) -> None:
        self._flush()
        if sign == "*":
            self.marked = True
        elif sign in "\r\n":
            self._end_paragraph()
        elif sign in SPECIAL:
            self._add(SPECIAL[sign])

    def _word(self, word: str, number: int | None) -> int:
        """Obey a control word; return how many characters behind it are no text."""
        marked, self.marked = self.marked, False
        if word not in _KNOWN and not marked:
            return 0
        self._flush()
        if word == "bin":
            return max(number or 0, 0)
        if word == "ud" and self.state.awaits_unicode:
            self.state = replace(self.state, skipped=False, awaits_unicode=False)
        elif self.state.skipped:
            pass
        elif word in SKIPPED or word == "annotation" or (marked and word not in _UNMARKED):
            self.left_out.n_comments += word == "annotation"
            self.state = replace(self.state, skipped=True)
        elif word in _COUNTED:
            self.left_out.counts[_COUNTED[word]] += 1
            self.state = replace(self.state, skipped=True)
        elif word in _TEXTS:
            self.texts.append(RtfText())
            self.state = replace(self.state, kind=word, mark="")
        elif word in MATH:
            begin, end = MATH[word]
            self._add(begin)
            self.state = replace(self.state, end=end)
        elif word == "fonttbl":
            self.in_fonts = True
            self.state = replace(self.state, kind=word)
        elif word in SPECIAL:
            self._add(SPECIAL[word])
        elif not self._layout(word, number):
            self._look(word, number)
        return 0

    def _layout(self, word: str, number: int | None) -> bool:
        """Obey a word that ends or shapes a paragraph, row or page; say whether it was one."""
        text = self.texts[-1]
        if word in ("par", "sect"):
            self._end_paragraph()
        elif word == "page":
            if text.line.has_text():
                self._end_paragraph()
            if len(self.texts) == 1 and not text.in_table:
                text.end_table()
                text.blocks.end_page()
        elif word == "pard":
            text.in_table, text.outline = False, None
        elif word == "intbl":
            text.in_table = True
        elif word == "outlinelevel":
            text.outline = number if number is not None and 0 <= number < 9 else None
        elif word == "cell":
            text.end_cell()
        elif word == "nestcell":
            text.in_table = True
            text.end_paragraph()
        elif word == "row":
            text.end_row()
        elif word == "trhdr":
            text.is_header = True
        elif word == "chpgn":
            text.has_page_number = True
        else:
            return False
        return True

    def _look(self, word: str, number: int | None) -> None:
        """Obey a word that decides how characters look or are read."""
        if word == "u" and number is not None:
            self._add(chr(number % 0x10000))
            self.n_to_skip = self.state.n_skipped
        elif word == "uc":
            self.state = replace(self.state, n_skipped=min(max(number or 0, 0), 16))
        elif word == "f" and number is not None:
            self.state = replace(self.state, font=number)
        elif word == "fcharset" and self.in_fonts:
            self.fonts[self.state.font] = (number or 0, "")
        elif word == "ansicpg" and not self.is_given:
            self.encoding = _codec(number or 0)
        elif word == "plain":
            self.state = replace(self.state, hidden=False, deleted=False, mark="")
        elif word == "v":
            self.state = replace(self.state, hidden=number != 0)
        elif word == "deleted":
            self.state = replace(self.state, deleted=number != 0)
        elif word in ("super", "up"):
            self.state = replace(self.state, mark=RAISED if number != 0 else "")
        elif word in ("sub", "dn"):
            self.state = replace(self.state, mark=LOWERED if number != 0 else "")
        elif word == "nosupersub":
            self.state = replace(self.state, mark="")
        elif word == "upr":
            self.state = replace(self.state, skipped=True, awaits_unicode=True)

    def _bytes(self, data: bytes) -> None:
        self.marked = False
        if self.n_to_skip:
            n_skipped = min(self.n_to_skip, len(data))
            self.n_to_skip -= n_skipped
            data = data[n_skipped:]
        if self.in_fonts:
            charset = self.fonts.get(self.state.font, (0, ""))[0]
            self.fonts[self.state.font] = (charset, data.decode("latin-1").strip("; "))
        elif not self.state.skipped:
            self.bytes += data

    def _flush(self) -> None:
        """Decode the bytes that were read in one font."""
        if not self.bytes:
            return
        data, self.bytes = bytes(self.bytes), bytearray()
        charset, name = self.fonts.get(self.state.font, (0, ""))
        if charset == SYMBOL_CHARSET:
            self._add("".join(symbol(0xF000 + code, name) for code in data))
            return
        codec = self.encoding if charset in (0, 1) else CHARSETS.get(charset, self.encoding)
        self._add(data.decode(codec, "replace"))

    def _add(self, text: str) -> None:
        state = self.state
        if state.skipped or state.deleted or self.in_fonts:
            return
        if state.hidden:
            self.left_out.n_hidden_chars += len(text.strip())
        else:
            self.texts[-1].line.add(text, state.mark)

    def _end_paragraph(self) -> None:
        if not self.state.skipped:
            self.texts[-1].end_paragraph()


def _codec(page: int) -> str:
    name = "utf-8" if page == 65001 else f"cp{page}"
    try:
        return codecs.lookup(name).name
    except LookupError:
        return "cp1252"


RTF = Format("rtf", (".rtf",), read_rtf, first_bytes=(b"{\\rtf",))
