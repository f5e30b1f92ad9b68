"""Records of a text that stands as it is: where it may be cut."""

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise


def split_at(text: str, starts: Iterable[int]) -> list[str]:
    """Return the pieces of a text that begin at some offsets; together they are the text."""
    bounds = sorted({0, len(text), *starts})
    return [text[start:end] for start, end in pairwise(bounds)]


def line_starts(lines: Sequence[str]) -> list[int]:
    """Return the offset at which each line begins, and last that of the text's end.

    Args:
        lines: Of a text that was split at its line feeds.
    """
    starts = list(accumulate((len(line) + 1 for line in lines), initial=0))
    return [*starts[:-1], starts[-1] - 1]
