"""Where a changed text is cut, so that what did not change keeps its chunks.

A chunk begins where the one before it ends, so behind an edit the chunks begin elsewhere than
before. In prose they meet the old ones again after some five to twenty chunks, because sentence
ends leave few places to cut at. Lines of one length, or a script without spaces, may never meet
them: there, after `PATIENCE` chunks without one that is known, a chunk is ended where an old one
began, and the old chunks go on from there. Only then do the spans differ from those of a text that
is cut for the first time.
"""

from collections.abc import Sequence

from e2llm.chunking.chunker import Chunker, Span, SpanMaker, make_spans

PATIENCE = 16
# An old border is known again by so many characters on each side of it.
CONTEXT_CHARS = 32


def cut_changed(
    text: str,
    chunker: SpanMaker,
    record_starts: Sequence[int],
    old_text: str,
    old_spans: Sequence[Span],
) -> list[Span]:
    """Return the spans of a changed text's chunks; those of unchanged stretches are the old ones.

    Args:
        text: The text as it is now.
        chunker: What cuts it; anything but a `Chunker` without overlap cuts it as if it were new.
        record_starts: Offset of each record's first character; chunks keep records whole.
        old_text, old_spans: The text as it was, and its chunks.

    Raises:
        UserError: As `make_spans`.
    """
    if not isinstance(chunker, Chunker) or chunker.overlap:
        return make_spans(text, chunker, record_starts)
    known = {old_text[start:end] for start, end in old_spans}
    borders = {_context(old_text, start) for start, _ in old_spans[1:]}
    bounds = sorted({0, len(text), *record_starts})
    spans = _leading(text, chunker, bounds, old_text, old_spans)
    start, missed = spans[-1][1] if spans else 0, 0
    while start < len(text):
        end = chunker.next_end(text, start, bounds)
        missed = 0 if text[start:end] in known else missed + 1
        if missed > PATIENCE:
            places = range(min(start + chunker.size, len(text) - 1), start, -1)
            border = next((place for place in places if _context(text, place) in borders), None)
            if border is not None:
                end, missed = border, 0
        spans.append((start, end))
        start = end
    return spans


def _leading(
    text: str, chunker: Chunker, bounds: Sequence[int], old_text: str, old_spans: Sequence[Span]
) -> list[Span]:
    """Return the old spans before the first change, those that an end of text cut left out."""
    allowed, spans = set(bounds), []
    for start, end in old_spans:
        seen = old_text[start : start + chunker.size]  # which decides where the chunk ends
        if len(seen) < chunker.size or not text.startswith(seen, start):
            break
        # A text that was cut without its records is cut anew.
        if len(bounds) > 2 and end not in allowed and end != chunker.next_end(text, start, bounds):
            break
        spans.append((start, end))
    return spans


def _context(text: str, place: int) -> str:
    return text[max(0, place - CONTEXT_CHARS) : place + CONTEXT_CHARS]
