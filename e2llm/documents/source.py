"""A source: the plain text of one file, with what is known of its places."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """Plain text of one file.

    Attributes:
        name: What it is called: the file's name, "stdin" for "-".
        page_starts: The offset of each page's first character; empty where the format has no pages.
        unit: What a page is called: "page", "slide", "sheet", "message" ...
        record_starts: The offset of each record's first character (a row, an entry, a function);
            chunks begin at one where they can. Empty where the text has no records.
        notices: What was not read, was assumed or was replaced; one line each.
    """

    name: str
    text: str
    page_starts: tuple[int, ...] = ()
    unit: str = "page"
    record_starts: tuple[int, ...] = ()
    notices: tuple[str, ...] = ()

    def page_at(self, offset: int) -> int | None:
        """Return the 1-based page that holds the character at `offset`; None without pages."""
        return page_at(self.page_starts, offset)


def page_at(page_starts: Sequence[int], offset: int) -> int | None:
    """Return the 1-based page that holds the character at `offset`.

    None where there are no pages or `offset` is before the first.
    """
    return bisect_right(page_starts, offset) or None


def group_sources(
    sources: Iterable[Source], most_chars: int | Callable[[], int]
) -> Iterator[list[Source]]:
    """Yield neighbours of at most so many characters together, and a longer text alone.

    Args:
        sources: The texts.
        most_chars: The limit; or what tells it, asked for each text.
    """
    limit = most_chars if callable(most_chars) else lambda: most_chars
    group: list[Source] = []
    n_chars = 0
    for source in sources:
        n_chars += len(source.text)
        if group and n_chars > limit():
            yield group
            group, n_chars = [], len(source.text)
        group.append(source)
    if group:
        yield group
