"""The text of one page of a PDF, with raised and lowered text, and what it holds besides."""

import ctypes
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

# Shares of a line's height: what is smaller than the first and stands higher or lower by more than
# the others is raised or lowered.
_SMALL, _RAISED, _LOWERED = 0.85, 0.15, 0.08
# Most characters that are raised or lowered together.
_MOST_SHIFTED = 12
# Font sizes up to this one are scaled by the matrix; and of so many characters one is asked whether
# its font has a map, before all are.
_UNIT_SIZE, _SAMPLED = 1.5, 8
# Raised, they mean what they mean on the line: 1st, Foo(TM).
_ORDINALS = {"st", "nd", "rd", "th", "er", "re", "e", "o", "a", "TM", "SM"}
HYPHEN = 0x02  # what PDFium makes of a hyphen at a line's end, whose line break it drops
UNKNOWN = 0xFFFD
_BLANK = (0x0A, 0x0D, 0x20)
_BULLET = re.compile("(?m)^([ \t]*)[\ue000-\uf8ff](?=[ \t])")
_SOFT_HYPHEN = re.compile("\u00ad(?:\n(?=[^\\W\\d_]))?")
_LIGATURES = str.maketrans(
    dict(zip("ﬀﬁﬂﬃﬄﬅﬆ", ("ff", "fi", "fl", "ffi", "ffl", "st", "st"), strict=True))
)


@dataclass
class Page:
    """What is read of one page.

    Attributes:
        text: Its text, with the values of its form's fields at their places.
        n_chars: Number of characters that it draws.
        n_unmapped: Number of those of which its fonts do not say what they are.
        has_pictures: Whether it draws anything but text.
        is_lost: Whether the file is too damaged to show it.
        notes: What readers wrote on it.
    """

    text: str = ""
    n_chars: int = 0
    n_unmapped: int = 0
    has_pictures: bool = False
    is_lost: bool = False
    notes: list[str] = field(default_factory=list)


class Chars:
    """The characters of a page, of which no more is asked of PDFium than is needed: it is slow.

    Attributes:
        codes: Unicode of each; `UNKNOWN` where the fonts do not say.
        sizes: Font size of each, in whatever unit this page has.
        n_unmapped: Number of those that the fonts do not tell.
    """

    def __init__(self, raw: Any, text_page: Any) -> None:
        self._raw, self._page = raw, text_page
        self._boxes: dict[int, tuple[float, float, float, float]] = {}
        n_chars = raw.FPDFText_CountChars(text_page)
        places = range(n_chars)
        buffer = (ctypes.c_ushort * (n_chars + 1))()
        if raw.FPDFText_GetText(text_page, 0, n_chars, buffer) == n_chars + 1:
            self.codes = buffer[:n_chars]
        else:  # which leaves out what is no character
            self.codes = [raw.FPDFText_GetUnicode(text_page, at) for at in places]
        self.sizes = [raw.FPDFText_GetFontSize(text_page, at) for at in places]
        if max(self.sizes, default=0.0) <= _UNIT_SIZE:  # the size is in the matrix
            self.sizes = [self.box(at)[3] - self.box(at)[1] for at in places]
        lacks_map = raw.FPDFText_HasUnicodeMapError
        step = 1 if any(lacks_map(text_page, at) == 1 for at in places[::_SAMPLED]) else _SAMPLED
        self.n_unmapped = 0
        for at, code in enumerate(self.codes):
            if code in _BLANK:
                continue
            if code == 0xFFFE:  # what `FPDFText_GetText` has for it
                self.codes[at] = HYPHEN
            elif _is_unknown(code) or (step == 1 and lacks_map(text_page, at) == 1):
                self.codes[at] = UNKNOWN
                self.n_unmapped += 1
        self.n_drawn = sum(code not in _BLANK for code in self.codes)

    def box(self, at: int) -> tuple[float, float, float, float]:
        """Return the left, bottom, right and top of a character, as high as its font's line."""
        if at not in self._boxes:
            box = self._raw.FS_RECTF()
            self._raw.FPDFText_GetLooseCharBox(self._page, at, box)
            self._boxes[at] = (box.left, box.bottom, box.right, box.top)
        return self._boxes[at]

    def baseline(self, at: int) -> float:
        """Return how high the line is that a character stands on."""
        x, y = ctypes.c_double(), ctypes.c_double()
        self._raw.FPDFText_GetCharOrigin(self._page, at, x, y)
        return y.value

    def level_with(self, bottom: float, top: float) -> list[int]:
        """Return the characters that stand between two heights, but for white space."""
        return [
            at
            for at, code in enumerate(self.codes)
            if code not in _BLANK and bottom <= (self.box(at)[1] + self.box(at)[3]) / 2 <= top
        ]


def _is_unknown(code: int) -> bool:
    return (
        (code < 0x20 and code not in (HYPHEN, 0x09, 0x0C))
        or 0x7F <= code < 0xA0
        or code in (UNKNOWN, 0xFFFE, 0xFFFF)
    )


def page_text(chars: Chars, values: dict[int, str]) -> str:
    """Return the text of a page's characters.

    Args:
        values: What stands in the form's fields, by the index of the character that it follows.
    """
    text = "\n".join(_line_text(chars, line, values) for line in _lines(chars)).rstrip("\n")
    return _SOFT_HYPHEN.sub("", _BULLET.sub(r"\1•", text.translate(_LIGATURES)))


def _lines(chars: Chars) -> list[list[int]]:
    """Return the indices of each line's characters.

    PDFium also breaks a line where raised text ends; such a break is healed.
    """
    lines: list[list[int]] = [[]]
    for at, code in enumerate(chars.codes):
        if code == 0x0A:
            if not _goes_on(chars, lines[-1], at + 1):
                lines.append([])
        elif code != 0x0D:
            lines[-1].append(at)
            if code == HYPHEN:
                lines.append([])
    return lines


def _goes_on(chars: Chars, line: list[int], after: int) -> bool:
    """Tell whether a character stands next to the end of a line, at its height."""
    last = next((at for at in reversed(line) if chars.codes[at] != 0x20), None)
    if last is None or after >= len(chars.codes) or chars.codes[after] in (0x0A, 0x0D):
        return False
    tall = max(line, key=chars.sizes.__getitem__)
    if chars.sizes[last] >= _SMALL * chars.sizes[tall]:
        return False
    _, bottom, _, top = chars.box(tall)
    gap = chars.box(after)[0] - chars.box(last)[2]
    rise = chars.baseline(after) - chars.baseline(tall)
    return -0.2 * (top - bottom) <= gap <= 0.5 * (top - bottom) >= 5 * abs(rise)


def _line_text(chars: Chars, line: list[int], values: dict[int, str]) -> str:
    """Return the text of one line, with its raised and lowered text marked."""
    drawn = [at for at in line if chars.codes[at] != 0x20]
    sizes = Counter(chars.sizes[at] for at in drawn)
    usual = max(sizes, key=lambda size: (sizes[size], size)) if sizes else 0.0
    small = {at for at in drawn if chars.sizes[at] < _SMALL * usual}
    level = next((at for at in drawn if chars.sizes[at] == usual), None)
    baseline = height = 0.0
    if small and level is not None:
        baseline = chars.baseline(level)
        height = max(chars.box(level)[3] - chars.box(level)[1], 1e-6)
    parts: list[str] = []
    shifted: list[str] = []
    mark = ""
    for at in line:
        here = ""
        if at in small:
            rise = (chars.baseline(at) - baseline) / height
            here = "^" if rise > _RAISED else "_" if rise < -_LOWERED else ""
        if here != mark:
            parts.append(_marked(mark, "".join(shifted), parts))
            shifted, mark = [], here
        written = "-" if chars.codes[at] == HYPHEN else chr(chars.codes[at])
        (shifted if mark else parts).append(written)
        if at in values:
            parts += [_marked(mark, "".join(shifted), parts), " ", values[at]]
            shifted, mark = [], ""
    parts.append(_marked(mark, "".join(shifted), parts))
    return "".join(parts).rstrip()


def _marked(mark: str, text: str, before: list[str]) -> str:
    """Return raised or lowered text with its mark, where a mark says something."""
    last = next((part for part in reversed(before) if part), "")
    if not mark or text in _ORDINALS or len(text) > _MOST_SHIFTED:
        return text
    if not any(map(str.isalnum, text)) or (mark == "_" and (not last or last.isspace())):
        return text
    return f"{mark}{text}" if re.fullmatch(r"[-+−]?\w+", text) else f"{mark}({text})"
