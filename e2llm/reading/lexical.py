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
    n_chunks = sum(len(index.lengths) for index in indices)
    mean_length = max(1.0, sum(int(index.lengths.sum()) for index in indices) / max(1, n_chunks))
    norms = [K1 * (1 - B + B * index.lengths / mean_length) for index in indices]
    scores = [np.zeros(len(index.lengths)) for index in indices]
    names = [set(split_words(document.name)) for document in documents]
    for word in set(split_words(question)):
        held = [index.find(checksum(word)) for index in indices]
        # A document's name counts for all its chunks.
        named = [
            len(index.lengths) if word in own else 0
            for index, own in zip(indices, names, strict=True)
        ]
        n_holding = sum(
            max(n_named, len(chunks)) for (chunks, _), n_named in zip(held, named, strict=True)
        )
        weight = math.log(1 + (n_chunks - n_holding + 0.5) / (n_holding + 0.5))
        for own, norm, (chunks, counts), n_named in zip(scores, norms, held, named, strict=True):
            frequency = np.full(len(own), 1.0 if n_named else 0.0)
            frequency[chunks] += counts
            own += weight * frequency * (K1 + 1) / (frequency + norm)
    return scores


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
