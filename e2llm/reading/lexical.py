"""Ranking by words: BM25 over the chunks of all documents, and the names that a question gives.

Dense ranking finds what is meant; ids, names and numbers mean nothing to an encoder, so they are
looked up as they are written (Robertson and Zaragoza 2009, "The Probabilistic Relevance
Framework: BM25 and Beyond").
The counts come from each document's own index, and the documents are ranked as one collection.
"""

import math
import re
from collections.abc import Sequence

import numpy as np

from e2llm.documents.compressed import CompressedDocument
from e2llm.documents.words import checksum, split_words

# The usual values, between those that the authors recommend (1.2 to 2, and 0.5 to 0.8).
K1, B = 1.5, 0.75
# What a question may hold that stands in the text as it is written: something in quotes, a token
# with a digit, several capitalised words in a row.
_QUOTED = re.compile(r"\"([^\"]{2,80})\"|“([^”]{2,80})”|`([^`]{2,80})`")
_TOKEN = re.compile(r"[^\s\"“”`]*\d[^\s\"“”`]*")
_NAME = re.compile(
    r"\b[A-ZÀ-Þ][\w'’-]*(?:[ ](?:[A-ZÀ-Þ][\w'’-]*|of|de|van|von|der|the))*[ ][A-ZÀ-Þ][\w'’-]*"
)


def score_words(question: str, documents: Sequence[CompressedDocument]) -> list[np.ndarray]:
    """Return the BM25 score of every chunk of every document, an array (n_chunks,) for each."""
    indices = [document.words for document in documents]
    sizes = np.array([len(index.lengths) for index in indices], np.int64)  # (n_documents,)
    lengths = _join([index.lengths for index in indices])  # (n_chunks,), of all documents
    # Chunks are counted through all documents, so that one array operation serves them all.
    firsts = np.cumsum(sizes) - sizes
    chunks = _join([index.chunks + first for index, first in zip(indices, firsts, strict=True)])
    counts = _join([index.counts for index in indices])  # (n_postings,), as `chunks`
    terms = _join([index.terms for index in indices])  # (n_terms,)
    n_held = _join([np.diff(index.starts) for index in indices])  # (n_terms,): chunks of each
    starts = np.cumsum(n_held) - n_held
    of_terms = np.repeat(np.arange(len(indices)), [len(index.terms) for index in indices])
    names = [set(split_words(document.name)) for document in documents]

    n_chunks = len(lengths)
    norm = K1 * (1 - B + B * lengths / max(1.0, int(lengths.sum()) / max(1, n_chunks)))
    scores = np.zeros(n_chunks)
    for word in set(split_words(question)):
        # A document's name counts for all its chunks.
        named = np.array([word in own for own in names], bool)  # (n_documents,)
        places = np.flatnonzero(terms == checksum(word))  # at most one of each document
        n_holding = int(sizes[named].sum() + n_held[places][~named[of_terms[places]]].sum())
        weight = math.log(1 + (n_chunks - n_holding + 0.5) / (n_holding + 0.5))
        frequency = np.repeat(named, sizes).astype(float)  # (n_chunks,)
        held = _ranges(starts[places], n_held[places])
        frequency[chunks[held]] += counts[held]
        scores += weight * frequency * (K1 + 1) / (frequency + norm)
    return np.split(scores, firsts[1:]) if indices else []


def _join(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return start, start + 1, ... for each of the ranges, one after the other."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))


def find_names(question: str, documents: Sequence[CompressedDocument]) -> list[tuple[int, int]]:
    """Return the (document, chunk) that alone hold an id, a name or a quotation of the question."""
    found: list[tuple[int, int]] = []
    for name in _names(question):
        pattern = re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])", re.IGNORECASE)
        places: list[tuple[int, int]] = []
        for which, document in enumerate(documents):
            ends = document.spans[:, 1]
            for match in pattern.finditer(document.text):
                chunk = int(np.searchsorted(ends, match.start(), side="right"))
                if (which, chunk) not in places:
                    places.append((which, chunk))
                if len(places) > 1:
                    break
            if len(places) > 1:
                break
        if len(places) == 1 and places[0] not in found:
            found += places
    return found


def _names(question: str) -> list[str]:
    quoted = ["".join(filter(None, match.groups())) for match in _QUOTED.finditer(question)]
    tokens = [match[0].strip(".,;:!?()[]{}'’") for match in _TOKEN.finditer(question)]
    names = []
    for match in _NAME.finditer(question):
        names.append(match[0])
        if not match.start():  # the first word of a question is capitalised anyway
            names.append(match[0].partition(" ")[2])
    whole = (name.strip() for name in (*quoted, *tokens, *names))
    return list(dict.fromkeys(name for name in whole if len(name) > 1))
