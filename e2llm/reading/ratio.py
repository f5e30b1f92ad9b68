"""Which ratio fits the decoder's window, before anything is compressed."""

import math
from collections.abc import Sequence

from e2llm.checks import check_ratio
from e2llm.chunking.chunker import SpanMaker, make_spans
from e2llm.documents.compressed import CompressedDocument
from e2llm.errors import WindowError
from e2llm.model import E2LLMConfig, E2LLMProcessor
from e2llm.reading.prompt import answer_cue, prompt_parts

# Tokens of the line that says where a passage stands, when they must be predicted.
PLACE_TOKENS = 32


def n_soft_at(ratio: float | str, n_tokens: Sequence[int], n_chunks: Sequence[int]) -> int:
    """Estimate the soft tokens of documents at a ratio; the estimate is too low by chance alone.

    Args:
        ratio: Text tokens per soft token, or "chunk".
        n_tokens: Decoder tokens of each document's text.
        n_chunks: Chunks of each.

    Example:
        >>> n_soft_at(8, [800], [10]), n_soft_at(800, [800], [10])
        (101, 10)
    """
    if ratio == "chunk":
        return sum(n_chunks)
    # A chunk takes at least one, and rounding may add one to a document.
    return sum(
        max(math.ceil(tokens / float(ratio)) + 1, chunks)
        for tokens, chunks in zip(n_tokens, n_chunks, strict=True)
    )


def fitting_ratio(
    n_tokens: Sequence[int], n_chunks: Sequence[int], free: int, least: float | str = 1
) -> float | str | None:
    """Return the lowest ratio at which documents take at most `free` positions; None if none does.

    The ratios tried are `least`, then 4, 8, 16, ... above it, then "chunk".

    Args:
        n_tokens: Decoder tokens of each document's text.
        n_chunks: Chunks of each.
        free: Decoder positions left for soft tokens.
        least: The lowest ratio wanted.
    """
    steps: list[float] = []
    if least != "chunk":
        doubling = (2.0**power for power in range(2, 12))
        steps = [float(least), *(ratio for ratio in doubling if ratio > float(least))]
    for ratio in steps:
        if n_soft_at(ratio, n_tokens, n_chunks) <= free:
            return int(ratio) if ratio == int(ratio) else ratio
    return "chunk" if sum(n_chunks) <= free else None


def fit_ratio(
    config: E2LLMConfig,
    processor: E2LLMProcessor,
    texts: Sequence[str],
    question: str,
    max_new_tokens: int,
    expand: int,
    chunker: SpanMaker,
    ratio: float | str | None = None,
    n_soft: int = 0,
    names: Sequence[str] = (),
) -> float | str:
    """Return the ratio at which texts fit the decoder's window, before anything is read.

    Args:
        config, processor: Of the pair.
        texts: The documents' texts, not compressed yet.
        question: The question that will be asked, if it is known.
        max_new_tokens: Room for the answer, in positions.
        expand: Chunks that will be expanded; room is kept for them, or for as many as leave a ratio
            that fits.
        chunker: As in `E2LLM.compress`.
        ratio: The only ratio wanted; None for the pair's own or, where that is too low, the next of
            4, 8, 16, ... or "chunk" that fits.
        n_soft: Soft tokens of documents that were compressed before and are asked together with
            these.
        names: What all the documents are called; their names stand in the prompt.

    Raises:
        WindowError: The wanted ratio, or every ratio, is too low; or the question alone too long.
    """
    wanted, window = check_ratio(config.ratio if ratio is None else ratio), config.decoder_window
    if window is None:
        return wanted
    # A question that is too long by itself fits at no ratio.
    alone = len(processor.prompt_ids([question]))
    if alone + max_new_tokens > window:
        raise WindowError(too_long(processor, question, [], alone, max_new_tokens, window))
    if expand and not config.trained:  # then the soft tokens are left out of the prompt
        return wanted
    # Tokens are counted, not compressed: milliseconds where the encoder takes seconds.
    spans = [make_spans(text, chunker) for text in texts]
    counts = [processor.count_tokens(*own) for own in zip(texts, spans, strict=True)]
    n_tokens, n_chunks = [int(own.sum()) for own in counts], [len(own) for own in spans]
    per_chunk = math.ceil(sum(n_tokens) / max(1, sum(n_chunks))) + PLACE_TOKENS
    named = [(name, 0) for name in names] or [("document", 0)]
    around = prompt_parts(question or "?", named, soft=True, cue=answer_cue(processor))
    free = window - max_new_tokens - n_soft - len(processor.prompt_ids(around))
    # Chunks as text give way to a ratio that fits, one by one.
    for n_expanded in range(min(expand, sum(n_chunks)), -1, -1):
        fitting = fitting_ratio(n_tokens, n_chunks, free - n_expanded * per_chunk, least=wanted)
        if fitting is not None and (ratio is None or fitting == wanted):
            return fitting
    raise WindowError(_no_room(wanted, ratio, fitting, n_tokens, n_chunks, n_soft, window, free))


def too_long(
    processor: E2LLMProcessor,
    question: str,
    documents: Sequence[CompressedDocument],
    positions: int,
    max_new_tokens: int,
    window: int,
) -> str:
    """Say in words why a prompt of so many positions does not fit the window, and what would.

    Args:
        processor: Of the pair.
        question: The question.
        documents: Those whose soft tokens stand in the prompt.
        positions: Of the prompt.
        max_new_tokens: Room for the answer, in positions.
        window: Positions that the decoder reads.
    """
    total = (
        f"the prompt takes {positions} positions and the answer up to {max_new_tokens}, and the "
        f"decoder's window holds {window}"
    )
    # What the words around the soft tokens leave of the window.
    n_soft = sum(document.n_soft for document in documents)
    free = window - max_new_tokens - (positions - n_soft)
    if not n_soft or free < 1:
        n_question = len(processor.text_ids(question))
        return (
            f"`question` (={n_question} tokens): {total}; shorten the question or lower "
            "`max_new_tokens`."
        )
    n_tokens = [document.n_tokens for document in documents]
    n_chunks = [document.n_chunks for document in documents]
    ratio = fitting_ratio(n_tokens, n_chunks, free)
    if ratio is None:
        way_out = (
            "even one soft token per chunk is too much: ask fewer documents, or use larger chunks."
        )
    else:
        way_out = f"compress with a ratio of at least {ratio} ({free} positions are free)."
    return f"`documents` (={n_soft} soft tokens): {total}; {way_out}"


def _no_room(
    wanted: float | str,
    ratio: float | str | None,
    fitting: float | str | None,
    n_tokens: Sequence[int],
    n_chunks: Sequence[int],
    n_soft: int,
    window: int,
    free: int,
) -> str:
    """Say in words why documents do not fit at a ratio, and which would."""
    room = f"the decoder's window of {window} positions has {max(0, free)} free"
    if n_soft:
        room += f" beside the {n_soft} soft tokens of what was compressed before"
    if fitting is None:
        return (
            f"`documents` (={sum(n_tokens)} tokens in {sum(n_chunks)} chunks): {room}, and even "
            "one soft token per chunk needs more; ask fewer documents, or use larger chunks."
        )
    return (
        f"`ratio` (={ratio}): {sum(n_tokens)} tokens make about "
        f"{n_soft_at(wanted, n_tokens, n_chunks)} soft tokens, and {room}; use a ratio of "
        f"{fitting}."
    )
