"""Running headers, footers and page numbers: left out where a text itself tells them from the rest.

That is where form feeds part its pages, and where a page's number stands alone between two halves
of a sentence. All other lines stay.
"""

import re
from collections import Counter
from itertools import pairwise

from e2llm.reading.lines import flows

# Pages on which the same line stands before it is a running one.
REPEATED = 3
# Most lines of a header or a footer.
HEADER_LINES = 3
_NUMBER = re.compile(r"\d{1,9}")
# Nothing else is written so.
_NUMBERED = re.compile(
    r"[ \t]*(?:(?:page|seite) \d{1,4} (?:of|von) \d{1,4}|[-–—] ?\d{1,4} ?[-–—])[ \t]*",
    re.IGNORECASE,
)


def without_edges(text: str) -> str:
    """Return a text without what repeats at the edges of its pages, and without form feeds."""
    if "\f" in text:
        pages = [page.strip("\n").split("\n") for page in text.split("\f")]
        pages = [page for page in pages if any(page)]
        for edge in (0, -1):
            for _ in range(HEADER_LINES):
                _drop_running(pages, edge)
        pages = [page for page in pages if page] or [[""]]
        text = "\n".join(pages[0])
        parts = [text]
        for before, page in pairwise(pages):
            parts += ["\n" if flows(before[-1], page[0]) else "\n\n", "\n".join(page)]
        text = "".join(parts)
    return _without_numbers(text)


def _drop_running(pages: list[list[str]], edge: int) -> None:
    """Take the running lines from one edge of the pages."""
    # The last line of a page stays, whatever it says.
    lines = [page[edge].strip() if len(page) > 1 else "" for page in pages]
    times = Counter(lines)
    numbered = [_NUMBER.findall(line) for line in lines]
    blind = [_NUMBER.sub("#", line) for line in lines]
    running = [bool(line) and times[line] >= REPEATED for line in lines]
    for at in range(1, len(lines)):
        if lines[at] and blind[at - 1] == blind[at] and _counts(numbered[at - 1], numbered[at]):
            running[at - 1] = running[at] = True
    for page, drop in zip(pages, running, strict=True):
        if drop:
            del page[edge]
            while page and not page[edge].strip():  # what stood under a header
                del page[edge]


def _counts(before: list[str], after: list[str]) -> bool:
    """Tell whether one number alone differs between two lines, by one."""
    changed = [(int(one), int(two)) for one, two in zip(before, after, strict=True) if one != two]
    return len(changed) == 1 and changed[0][1] - changed[0][0] == 1


def _without_numbers(text: str) -> str:
    lines = text.split("\n")
    full = [at for at, line in enumerate(lines) if line.strip()]
    drop: set[int] = set()
    for before, at, after in zip(full, full[1:], full[2:], strict=False):
        if _NUMBERED.fullmatch(lines[at][:64]) and flows(lines[before], lines[after]):
            drop.update(range(before + 1, after))
    if not drop:
        return text
    return "\n".join(line for at, line in enumerate(lines) if at not in drop)
