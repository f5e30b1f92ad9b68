"""The chunker: where a long text is cut, with exact spans (paper section 3.1, "Chunker").

A chunk is a span `(start, end)` of the text, so nothing is copied and nothing is lost: with no
overlap the spans concatenate back to the text. Any callable `text -> [(start, end), ...]` may stand
in for `Chunker`.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from e2llm.checks import check_count
from e2llm.errors import UserError

Span = tuple[int, int]
SpanMaker = Callable[[str], Sequence[Span]]

# A line end, a sentence end of a spaced script with its closing quotes, or a full stop of an
# unspaced one. Every repetition is bounded, so that a megabyte of full stops costs no more than any
# other megabyte.
SENTENCE_END = re.compile(r"\n|[.!?…।؟۔][\"')\]”’»]{0,3}\s|[。！？｡][」』）”’]{0,3}")
_WORD_END = re.compile(r"\s")
_ZERO_WIDTH_JOINER = "\u200d"


@dataclass(frozen=True)
class Chunker:
    """Cut at the last sentence or line end in the second half of each `size` characters.

    Where the second half holds no sentence end the chunk ends at its last white space, and where it
    holds none of that either (one endless word, an unspaced script) at `size`, moved back so that
    no accent or joined emoji is torn off.

    Attributes:
        size: The longest chunk, in characters; the paper uses 512, about 100 tokens.
        overlap: Characters of the previous chunk that the next one repeats; less than half of
            `size`.

    Example:
        >>> Chunker(size=14)("One two. Three four. Five.")
        [(0, 9), (9, 21), (21, 26)]
    """

    size: int = 512
    overlap: int = 0

    def __post_init__(self) -> None:
        check_count("size", self.size, 1, "character (the paper uses 512)")
        check_count("overlap", self.overlap, 0, "characters")
        if not 0 <= self.overlap <= (self.size - 1) // 2:
            raise UserError(
                f"`overlap` (={self.overlap}) must be at least 0 and less than half of `size` "
                f"(={self.size}) characters."
            )

    def __call__(self, text: str) -> list[Span]:
        """Return the spans of the chunks, in order; linear in the length of the text."""
        spans: list[Span] = []
        start, length = 0, len(text)
        while start < length:
            end = start + self.size
            if end >= length:
                spans.append((start, length))
                break
            end = self._break(text, start, end)
            spans.append((start, end))
            start = end - self.overlap
            while start < end and self.overlap and _continues(text, start, spans[-1][0]):
                start += 1
        return spans

    def cut(self, text: str, starts: Sequence[int]) -> list[Span]:
        """Return the spans of the chunks of a text of records: no record is cut that fits a chunk.

        Neighbouring records stand in one chunk as far as they fit, without overlap; a record of
        more than `size` characters is cut as any text is.

        Args:
            text: The text.
            starts: Offset of each record's first character, ascending.

        Example:
            >>> Chunker(size=10).cut("a: 1\\nb: 2\\nc: 3\\n", [0, 5, 10])
            [(0, 10), (10, 15)]
        """
        spans: list[Span] = []
        bounds = sorted({0, len(text), *starts})
        start = 0
        for before, end in pairwise(bounds):
            if end - start <= self.size:
                continue
            if before > start:
                spans.append((start, before))
                start = before
            if end - start > self.size:
                spans += [(start + own, start + last) for own, last in self(text[start:end])]
                start = end
        return [*spans, (start, len(text))] if start < len(text) else spans

    def next_end(self, text: str, start: int, bounds: Sequence[int]) -> int:
        """Return where the chunk that begins at `start` ends, without overlap.

        Args:
            text: The text.
            start: Where the chunk before it ends, or 0.
            bounds: Ascending from 0 to the length of the text: where records begin, if it has any.
        """
        following = bisect_right(bounds, start)  # of the first bound behind the start
        fitting = bisect_right(bounds, start + self.size, following) - 1
        # What is left of a long record stands alone.
        if bounds[following - 1] != start:
            fitting = min(fitting, following)
        if fitting >= following:
            return bounds[fitting]
        return self._break(text, start, start + self.size)

    def _break(self, text: str, start: int, end: int) -> int:
        middle = start + max(1, self.size // 2)
        for pattern in (SENTENCE_END, _WORD_END):
            breaks = [match.end() for match in pattern.finditer(text, middle, end)]
            if breaks:
                return breaks[-1]
        whole = end
        while whole > middle and _continues(text, whole, start):
            whole -= 1
        return end if whole == middle else whole


def _continues(text: str, offset: int, start: int) -> bool:
    """Tell whether the character at `offset` belongs to the one before it.

    So does an accent, the rest of a joined or coloured emoji, the second half of a flag. At `start`
    a character is known to begin.
    """
    char, before = text[offset], text[offset - 1]
    if _is_flag_letter(char) and _is_flag_letter(before):
        # Flags are pairs of letters: in a run of them only every other place is inside one.
        first = offset - 1
        while first > start and _is_flag_letter(text[first - 1]):
            first -= 1
        return (offset - first) % 2 == 1
    return (
        unicodedata.category(char) in ("Mn", "Mc", "Me")
        or _ZERO_WIDTH_JOINER in (char, before)
        or "\U0001f3fb" <= char <= "\U0001f3ff"
    )


def _is_flag_letter(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def make_spans(text: str, chunker: SpanMaker, record_starts: Sequence[int] = ()) -> list[Span]:
    """Run `chunker` on `text` and check what it returns.

    A `Chunker` keeps records whole.

    Raises:
        UserError: A span is empty, leaves the text, goes backwards, or leaves out anything but
            white space.
    """
    if record_starts and isinstance(chunker, Chunker):
        return chunker.cut(text, record_starts)
    try:
        spans = [(int(start), int(end)) for start, end in chunker(text)]
    except (TypeError, ValueError) as error:
        raise UserError(
            "`chunker` must return pairs of offsets, [(start, end), ...]; it returned "
            f"something else ({error})."
        ) from error
    last_start = last_end = 0
    for index, (start, end) in enumerate(spans):
        if not 0 <= start < end <= len(text):
            raise UserError(
                f"`chunker`: span {index} (={start, end}) must hold 0 <= start < end <= "
                f"{len(text)}, the length of the text."
            )
        if start < last_start or (end <= last_end and index):
            raise UserError(
                f"`chunker`: span {index} (={start, end}) must start no earlier and end later "
                "than the span before it."
            )
        _check_gap(text, last_end, start)
        last_start, last_end = start, end
    _check_gap(text, last_end, len(text))
    return spans


def _check_gap(text: str, start: int, end: int) -> None:
    if start < end and text[start:end].strip():
        raise UserError(
            f"`chunker` leaves out characters {start} to {end}; its spans must cover "
            "everything but white space."
        )
