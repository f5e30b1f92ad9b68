"""How much of a text an encoder's tokenizer knows: of what it does not, embeddings say nothing.

A vocabulary without a script gives its words as unknown tokens, letter by letter, or byte by byte.
"""

import re
from collections.abc import Sequence

import numpy as np
from tokenizers import Encoding, Tokenizer

# A text is judged by so many pieces of it, evenly spaced.
N_PIECES, PIECE_CHARS = 16, 1_024
_IDEOGRAPHS = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# A run of ideographs, or of anything else that is neither white space nor ASCII punctuation: the
# vowels of Indic scripts are no letters to `re`.
_WORD = re.compile(rf"[{_IDEOGRAPHS}]+|[^\s!-/:-@\[-`{{-~{_IDEOGRAPHS}]+")
_IDEOGRAPH = re.compile(f"[{_IDEOGRAPHS}]")
# Tokens per letter above which a word is only spelled; an English word takes about a quarter.
_SPELLED, _SPELLED_IN_BYTES = 0.7, 1.2


def unknown_share(tokenizer: Tokenizer, unknown_id: int | None, text: str) -> float:
    """Return the share of a text's letters that the tokenizer has no words or pieces for, 0 to 1.

    Args:
        tokenizer: Of the encoder.
        unknown_id: Its token for what it does not know, if it has one.
        text: A text of any length; a long one is judged by 16,384 of its characters.
    """
    step = max(PIECE_CHARS, len(text) // N_PIECES)
    pieces = [text[start : start + PIECE_CHARS] for start in range(0, len(text), step)]
    unknown = total = 0.0
    encoded = tokenizer.encode_batch(pieces, add_special_tokens=False)
    for piece, encoding in zip(pieces, encoded, strict=True):
        words = [match for match in _WORD.finditer(piece) if any(map(str.isalpha, match[0]))]
        parts = [encoding, *encoding.overflowing]
        n_tokens, n_holes = _count_tokens(words, parts, unknown_id)
        for word, tokens, holes in zip(words, n_tokens.tolist(), n_holes.tolist(), strict=True):
            n_letters = sum(map(str.isalpha, word[0]))
            # One token for an ideograph is usual; in ASCII a spelled word is an abbreviation.
            spelled = _SPELLED_IN_BYTES if _IDEOGRAPH.match(word[0]) else _SPELLED
            if not holes and n_letters < 3 and spelled == _SPELLED and not word[0].isascii():
                continue  # nothing can be told of it
            total += n_letters
            if not word[0].isascii() and tokens > spelled * n_letters:
                unknown += n_letters
            elif holes:
                unknown += n_letters * holes / tokens
    return unknown / total if total else 0.0


def _count_tokens(
    words: Sequence[re.Match[str]], encodings: Sequence[Encoding], unknown_id: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Count the tokens of each word, and those that are unknown, both (n_words,)."""
    starts = np.array([word.start() for word in words], np.int64)
    ends = np.array([word.end() for word in words], np.int64)
    ids = np.array([own for encoding in encodings for own in encoding.ids], np.int64)
    offsets = np.array([own for encoding in encodings for own in encoding.offsets]).reshape(-1, 2)
    # A token belongs where its last character stands: byte-level ones begin with white space.
    last = offsets[:, 1] - 1
    own = np.searchsorted(starts, last, side="right") - 1
    inside = (own >= 0) & (offsets[:, 0] <= last)
    inside[inside] = last[inside] < ends[own[inside]]
    holes = inside & (ids == (-1 if unknown_id is None else unknown_id))
    n_words = len(words)
    return np.bincount(own[inside], minlength=n_words), np.bincount(own[holes], minlength=n_words)
