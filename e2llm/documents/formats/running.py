"""Running headers and footers: said once, where they first stand."""

import re
from collections import defaultdict

# Pages on which a line stands before it is a running one, and most lines of a header or footer.
REPEATED = 3
EDGE_LINES = 2
# Letters of a running line that has a page number and says more.
_NAMED = 15
_LETTER = re.compile(r"[^\W\d_]")
_PAGE = re.compile(r"[-–— ]*(?:page|p\.|seite|s\.)? ?#(?: ?(?:of|von|/) ?#)?[-–— ]*", re.IGNORECASE)
_NUMBER = re.compile(r"\d{1,9}")


def drop_running(pages: list[str]) -> list[str]:
    """Return pages without the headers and footers that an earlier page has.

    A line at the same edge of three pages is one if it is the same, or but for a page number that
    grows with the pages. The last line of a page stays.
    """
    split = [page.split("\n") for page in pages]
    for edge in (0, -1):
        dropped = set(range(len(split)))
        for _ in range(EDGE_LINES):
            dropped &= set(_running(split, edge))
            for at in dropped:
                del split[at][edge]
    return ["\n".join(lines).strip("\n") for lines in split]


def running_lines(pages: list[str]) -> set[str]:
    """Return the running lines, their digits as `#`."""
    split = [page.split("\n") for page in pages]
    return {
        blind(split[at][edge])
        for edge in (0, -1)
        for at in _running(split, edge, shortest=1, named=0)
    }


def blind(line: str) -> str:
    """Return a line with `#` for each of its numbers."""
    return _NUMBER.sub("#", line.strip())


def _running(
    split: list[list[str]], edge: int, shortest: int = 2, named: int = _NAMED
) -> list[int]:
    """Return the pages, but for the first, of each running line at an edge."""
    places: dict[str, list[int]] = defaultdict(list)
    for at, lines in enumerate(split):
        if len(lines) >= shortest and lines[edge].strip():
            places[blind(lines[edge])].append(at)
    found = []
    for line, pages in places.items():
        if len(pages) < REPEATED:
            continue
        numbers = [list(map(int, _NUMBER.findall(split[at][edge]))) for at in pages]
        counts = [
            len({row[k] for row in numbers}) > 1
            and len({row[k] - at for row, at in zip(numbers, pages, strict=True)}) == 1
            for k in range(len(numbers[0]))
        ]
        same = [len({row[k] for row in numbers}) == 1 for k in range(len(numbers[0]))]
        # "Chapter 3" begins a page and counts with it, but is none.
        is_number = _PAGE.fullmatch(line) or len(_LETTER.findall(line)) >= named
        if all(map(any, zip(counts, same, strict=True))) and (is_number or not any(counts)):
            found += pages[1:]
    return found
