"""How many decoder positions E2LLM gives a document: what its rivals at equal budget may use."""

from e2llm.chunking.chunker import make_spans
from e2llm.errors import WindowError
from e2llm.pair import E2LLM
from e2llm.reading.ratio import fitting_ratio, n_soft_at

# Characters per token, where only the length in tokens is known.
CHARS_PER_TOKEN = 4
# Positions that a prompt takes beside the document, with an answer of 256 tokens.
BESIDE = 448
# The line before an expanded chunk, for the number of its tokens.
_PLACE = "\nFrom document (characters 10000-10512):\n\n"


def budget(pair: E2LLM, text: str, ratio: float | str | None, expand: int | None) -> int:
    """Return the decoder positions that E2LLM gives a document.

    They are its soft tokens, and as many average chunks as are expanded with their places. Where
    E2LLM would need more than the decoder's window, it is what the window has room for.

    Args:
        pair: The pair.
        text: The document.
        ratio, expand: As in `E2LLM.compress` and `E2LLM.ask`; None for the pair's own.
    """
    spans = make_spans(text, pair.chunker)
    n_tokens = int(pair.processor.count_tokens(text, spans).sum())
    if ratio is None:
        try:
            ratio = pair.fit_ratio([text], expand=expand)
        except WindowError:
            # No ratio fits: one soft token per chunk, of which `room` counts what fits.
            ratio = "chunk"
    return min(_positions(pair, n_tokens, len(spans), ratio, expand), room(pair))


def predict_budget(
    pair: E2LLM, n_tokens: int, ratio: float | str | None, expand: int | None
) -> int:
    """Predict `budget` for a document of `n_tokens` tokens."""
    return min(predict_positions(pair, n_tokens, ratio, expand), room(pair))


def predict_positions(
    pair: E2LLM,
    n_tokens: int,
    ratio: float | str | None,
    expand: int | None,
    chunk_chars: int | None = None,
) -> int:
    """Predict the positions that E2LLM needs for a document, whatever the window holds.

    Args:
        pair: The pair.
        n_tokens: Tokens of the document.
        ratio, expand: As in `budget`.
        chunk_chars: Longest chunk; None for the pair's own.
    """
    n_chunks = -(-n_tokens * CHARS_PER_TOKEN // (chunk_chars or pair.config.chunk_chars))
    if ratio is None:
        fitting = fitting_ratio([n_tokens], [n_chunks], room(pair), least=pair.config.ratio)
        ratio = fitting or "chunk"
    return _positions(pair, n_tokens, n_chunks, ratio, expand)


def room(pair: E2LLM) -> int:
    """Return the positions that a document may take in the decoder's window."""
    window = pair.config.decoder_window
    return 2**62 if window is None else max(1, window - BESIDE)


def _positions(
    pair: E2LLM, n_tokens: int, n_chunks: int, ratio: float | str, expand: int | None
) -> int:
    expand = pair.config.expand if expand is None else expand
    n_chunk = -(-n_tokens // max(1, n_chunks)) + len(pair.processor.text_ids(_PLACE))
    expanded = min(expand, n_chunks) * n_chunk
    # Expanded by an untrained pair, the soft tokens are left out of the prompt; chunks that find no
    # room are.
    n_soft = n_soft_at(ratio, [n_tokens], [n_chunks]) if pair.config.trained or not expand else 0
    return max(n_soft, min(n_soft + expanded, room(pair)))
