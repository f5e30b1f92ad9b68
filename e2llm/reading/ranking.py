"""Which chunks matter to a question: by the encoder's embedding of each, and by its words.

The encoder is a retrieval model already, so ranking takes no second model.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from e2llm.compression.compressor import Compressor
from e2llm.documents.compressed import MOST_UNKNOWN, CompressedDocument
from e2llm.reading.lexical import find_names, score_words

# Recall of the answer's chunk among four, 240 SQuAD questions over documents of 16K tokens:
# 91.2 % with 0, 94.6 % with 0.3, 90.8 % with 1.
NEIGHBOUR_WEIGHT = 0.3
# Of so many of the best chunks it is told whether they say nearly the same: at most this share of
# their three words in a row is new, of so many at the least.
MOST_COMPARED, MOST_NEW, FEWEST_SHINGLES = 64, 0.05, 12
# Every so many places one goes to the best by words.
LEXICAL_EVERY = 4


class RankedChunk(NamedTuple):
    """A chunk and how well it fits a question.

    Attributes:
        document: Which of the documents it is of, counted from 0.
        chunk: Its index in that document.
        score: Similarity of its own embedding to the question's.
    """

    document: int
    chunk: int
    score: float


def rank_chunks(
    compressor: Compressor, question: str, documents: Sequence[CompressedDocument]
) -> list[RankedChunk]:
    """Return every chunk of the documents, the best to expand first.

    Chunks that alone hold an id, a name or a quotation of the question come first. Then every
    fourth is the best by its words that is left, and the others the best by the encoder's sentence
    embedding; all are by words where the encoder cannot read the question. Of chunks that say the
    same, all but the first come last.

    Args:
        compressor: Of the pair; it embeds the question.
        question: The question.
        documents: Compressed by the same pair.
    """
    dense = rank_by_embedding(compressor, question, documents)
    scores = {(chunk.document, chunk.chunk): chunk.score for chunk in dense}
    lexical = _nonzero(score_words(question, documents))
    order: dict[tuple[int, int], None] = dict.fromkeys(find_names(question, documents))
    legs = {"dense": iter(scores), "lexical": iter(lexical)}
    every = 1 if compressor.processor.unknown_share(question) > MOST_UNKNOWN else LEXICAL_EVERY
    for place in range(len(order), len(scores)):
        for leg in ("lexical", "dense") if place % every == every - 1 else ("dense",):
            found = next((chunk for chunk in legs[leg] if chunk not in order), None)
            if found is not None:
                order[found] = None
                break
    ranked = [RankedChunk(which, index, scores[which, index]) for which, index in order]
    return _alike_last(ranked, documents)


def rank_by_embedding(
    compressor: Compressor, question: str, documents: Sequence[CompressedDocument]
) -> list[RankedChunk]:
    """Return every chunk by its embedding.

    A chunk is ranked by its own similarity to the question and by a part of its better neighbour's:
    answers stand beside what names them.
    """
    wanted = compressor.embed_question(question)  # (d_enc,)
    # Each (n_chunks, d_enc) @ (d_enc,) -> (n_chunks,); then as one array for all documents
    own = [(document.embeddings.float() @ wanted).numpy() for document in documents]
    if not own:
        return []
    sizes = np.array([len(scores) for scores in own])  # (n_documents,)
    scores, ends = np.concatenate(own), np.cumsum(sizes)
    firsts = ends - sizes
    # Beside a document's first and last chunk stands its worst.
    worst = np.minimum.reduceat(scores, firsts)
    before, after = np.roll(scores, 1), np.roll(scores, -1)
    before[firsts], after[ends - 1] = worst, worst
    ranks = scores + np.float32(NEIGHBOUR_WEIGHT) * np.maximum(before, after)
    order = np.argsort(-ranks, kind="stable")
    which = np.repeat(np.arange(len(own)), sizes)
    places = which[order], (np.arange(len(scores)) - firsts[which])[order], scores[order]
    return [RankedChunk(*place) for place in zip(*(part.tolist() for part in places), strict=True)]


def _nonzero(scores: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """Return the (document, chunk) that have a score, the highest first."""
    if not scores:
        return []
    flat, sizes = np.concatenate(scores), np.array([len(own) for own in scores])
    which = np.repeat(np.arange(len(sizes)), sizes)
    found = np.flatnonzero(flat)
    found = found[np.argsort(-flat[found], kind="stable")]
    chunks = found - (np.cumsum(sizes) - sizes)[which[found]]
    return list(zip(which[found].tolist(), chunks.tolist(), strict=True))


def _alike_last(
    ranked: list[RankedChunk], documents: Sequence[CompressedDocument]
) -> list[RankedChunk]:
    """Move chunks that say nothing more than those before them to the end.

    Of all chunks that is told for equal words; of the best also for nearly equal ones: hardly any
    three words in a row are new, and no new word is a name or a number.
    """
    seen: set[str] = set()
    shingles: set[tuple[str, ...]] = set()
    first: list[RankedChunk] = []
    again: list[RankedChunk] = []
    for place, chunk in enumerate(ranked):
        start, end = documents[chunk.document].spans[chunk.chunk].tolist()
        words = documents[chunk.document].text[start:end].split()
        text = " ".join(words)
        alike = text in seen
        if not alike and place < MOST_COMPARED:
            own = list(zip(words, words[1:], words[2:], strict=False))
            alike = len(own) >= FEWEST_SHINGLES and _stands_in(own, shingles)
            shingles.update(own)
        (again if alike else first).append(chunk)
        seen.add(text)
    return first + again


def _stands_in(own: Sequence[tuple[str, ...]], known: set[tuple[str, ...]]) -> bool:
    """Tell whether nearly all of a chunk's shingles are known, and what is new names nothing."""
    new = [shingle for shingle in own if shingle not in known]
    if len(new) > MOST_NEW * len(own):
        return False
    held = {word for shingle in own if shingle in known for word in shingle}
    fresh = {word for shingle in new for word in shingle} - held
    return not any(char.isdigit() or char.isupper() for word in fresh for char in word)
