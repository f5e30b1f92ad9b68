"""A chunker that cuts where neighbouring sentences part in meaning, as the encoder has it.

No torch here: embeddings come from outside.

A cut between two sentences is worth the distance of their embeddings less a threshold, a percentile
of all such distances of the text. The chunks are those of the greatest worth in all, none longer
than `size`: every place above the threshold is cut, and a stretch that is too long is cut at as few
further places as can be, where its sentences differ most.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from e2llm.checks import check_count
from e2llm.chunking.chunker import SENTENCE_END, Chunker, Span
from e2llm.errors import UserError

# (text, spans of its sentences) -> (n_sentences, d_enc): a tensor, or whatever else numpy takes for
# an array.
Embed = Callable[[str, Sequence[Span]], Any]
# Sentences whose embeddings are held at a time.
BLOCK_SENTENCES = 2_048


@dataclass
class SemanticChunker:
    """Cut at the greatest distances between the embeddings of neighbouring sentences.

    `E2LLM.semantic_chunker` makes one. The chunks concatenate back to the text. The text that was
    cut last is remembered, for a ratio that fits is worked out before it is compressed.

    Attributes:
        embed: Gives the embedding of each sentence.
        size: The longest chunk, in characters; a longer sentence is cut as `Chunker` cuts.
        percentile: Part of the places between sentences, in percent, that is below the threshold;
            the higher, the fewer chunks.

    Example:
        >>> def embed(text, spans):
        ...     parts = [text[start:end] for start, end in spans]
        ...     return [["cat" in part, "tax" in part] for part in parts]
        >>> chunker = SemanticChunker(embed, 60, 50)
        >>> chunker("A cat sat. The cat ran. A tax rose. The tax fell.")
        [(0, 24), (24, 49)]
    """

    embed: Embed
    size: int = 512
    percentile: float = 90.0
    _last: tuple[str, list[Span]] = field(default=("", []), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_count("size", self.size, 1, "character (the paper uses 512)")
        if not 0 <= self.percentile <= 100:
            raise UserError(
                f"`percentile` (={self.percentile!r}) must lie between 0 (nearly every sentence "
                "is a chunk) and 100 (only `size` cuts)."
            )

    def __call__(self, text: str) -> list[Span]:
        """Return the spans of the chunks, in order.

        Beside the encoder's work it is linear in the length of the text.
        """
        if text != self._last[0]:
            sentences = cut_sentences(text, self.size)
            distances = self._distances(text, sentences)
            threshold = np.percentile(distances, self.percentile) if len(distances) else 0.0
            self._last = text, _best_cuts(sentences, (distances - threshold).tolist(), self.size)
        return list(self._last[1])

    def _distances(self, text: str, sentences: list[Span]) -> np.ndarray:
        """Return 1 - cosine of each sentence and the next, (n_sentences - 1,)."""
        parts = [np.zeros(0)]
        for first in range(0, len(sentences) - 1, BLOCK_SENTENCES):
            # One more than a block, for the distance across its end: (n_block + 1, d_enc)
            block = sentences[first : first + BLOCK_SENTENCES + 1]
            embeddings = np.asarray(self.embed(text, block), float)
            embeddings /= np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
            parts.append(1 - (embeddings[:-1] * embeddings[1:]).sum(1))  # (n_block,)
        return np.concatenate(parts)


def cut_sentences(text: str, size: int) -> list[Span]:
    """Return the spans of the sentences and lines of a text, which concatenate back to it.

    White space alone is no sentence: it belongs to the one before. A sentence of more than `size`
    characters is cut as `Chunker` cuts.
    """
    sentences: list[Span] = []
    start = 0
    for end in [*(match.end() for match in SENTENCE_END.finditer(text)), len(text)]:
        if sentences and not text[start:end].strip():
            sentences[-1] = sentences[-1][0], end
        elif start < end:
            sentences.append((start, end))
        start = end
    chunker = Chunker(size)
    spans: list[Span] = []
    for start, end in sentences:
        spans += [(start + first, start + last) for first, last in chunker(text[start:end])]
    return spans


def _best_cuts(sentences: list[Span], worth: list[float], size: int) -> list[Span]:
    """Join sentences to chunks such that the cuts between them are worth most in all.

    Args:
        sentences: Each at most `size` long, without gaps.
        worth: Of a cut after each sentence but the last.
        size: The longest chunk.
    """
    if not sentences:
        return []
    bounds = [0, *(end for _, end in sentences)]
    # best[i] is the greatest worth of the text before bound i; the queue holds those bounds from
    # which a chunk may still begin, falling in worth.
    best, before = [0.0], [0]
    queue = deque([0])
    for place, own in enumerate([*worth, 0.0], 1):
        while bounds[place] - bounds[queue[0]] > size:
            queue.popleft()
        before.append(queue[0])
        best.append(best[queue[0]] + own)
        while queue and best[queue[-1]] < best[place]:
            queue.pop()
        queue.append(place)
    spans, place = [], len(sentences)
    while place:
        spans.append((bounds[before[place]], bounds[place]))
        place = before[place]
    return spans[::-1]
