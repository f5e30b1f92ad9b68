"""The text of one paragraph while its runs are read, with what is raised and lowered marked."""

import re

RAISED, LOWERED = "^", "_"
# What stands behind a mark as it is; all else gets parentheses.
_PLAIN = re.compile(r"[+\-\u2212]?(?:\d+(?:[.,]\d+)*|\w+|[*'\u2032\u2020\u2021])")
# Raised for its looks alone: ordinals behind a digit, and marks of trade.
_ORDINAL = re.compile(r"st|nd|rd|th|er|re|e|ème|eme|o|a|º|ª", re.IGNORECASE)
_TRADE = {"tm", "sm", "r", "c", "®", "©", "™"}


class Line:
    """The pieces of a line, joined.

    Example:
        >>> line = Line()
        >>> line.add("10")
        >>> line.add("11", RAISED)
        >>> line.add(" stars")
        >>> line.text()
        '10^11 stars'
    """

    def __init__(self) -> None:
        self._pieces: list[tuple[str, str]] = []
        self.n_chars = 0

    def add(self, text: str, mark: str = "") -> None:
        """Add text that is raised, lowered or neither."""
        if text:
            self._pieces.append((text, mark))
            self.n_chars += len(text)

    def has_text(self) -> bool:
        """Say whether anything but white space stands on it."""
        return any(not text.isspace() for text, _ in self._pieces)

    def text(self) -> str:
        """Return the line; neighbours that are raised or lowered alike have one mark."""
        if not any(mark for _, mark in self._pieces):
            return "".join(text for text, _ in self._pieces)
        out: list[str] = []
        run: list[str] = []
        current = ""
        for text, mark in [*self._pieces, ("", "end")]:
            if mark != current:
                before = out[-1][-1:] if out else ""
                if joined := "".join(run):
                    out.append(marked(joined, current, before))
                run, current = [], mark
            run.append(text)
        return "".join(out)


def marked(text: str, mark: str, before: str) -> str:
    """Return a text with its mark.

    Args:
        text: What is raised or lowered.
        mark: `RAISED`, `LOWERED`, or "" for neither.
        before: The character before it.
    """
    bare = text.strip()
    if not mark or not bare:
        return text
    if mark == RAISED:
        if before.isdigit() and _ORDINAL.fullmatch(bare):
            return text
        if bare.lower() in _TRADE and before.isalpha():
            return text
    inner = bare if _PLAIN.fullmatch(bare) else f"({bare})"
    start = text.index(bare)
    return text[:start] + mark + inner + text[start + len(bare) :]
