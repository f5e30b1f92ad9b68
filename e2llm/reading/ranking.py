"""Which chunks matter to a question: the encoder's embedding of each chunk against the question's.

The encoder is a retrieval model already, so ranking takes no second model.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn import functional as F

from e2llm.compression.compressor import Compressor
from e2llm.documents.compressed import CompressedDocument

# Recall of the answer's chunk among four, 240 SQuAD questions over documents of 16K tokens:
# 91.2 % with 0, 94.6 % with 0.3, 90.8 % with 1.
NEIGHBOUR_WEIGHT = 0.3


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

    A chunk is ranked by its own similarity to the question and by a part of its better neighbour's:
    answers stand beside what names them.

    Args:
        compressor: Of the pair; it embeds the question.
        question: The question.
        documents: Compressed by the same pair.
    """
    wanted = compressor.embed_question(question)  # (d_enc,)
    ranked: list[tuple[float, RankedChunk]] = []
    for which, document in enumerate(documents):
        scores = document.embeddings.float() @ wanted  # (n_chunks, d_enc) @ (d_enc,) -> (n_chunks,)
        padded = F.pad(scores, (1, 1), value=float(scores.min()))  # (n_chunks + 2,)
        better = torch.maximum(padded[:-2], padded[2:])  # (n_chunks,): of the two neighbours
        ranks = (scores + NEIGHBOUR_WEIGHT * better).tolist()
        ranked += [
            (rank, RankedChunk(which, index, score))
            for index, (rank, score) in enumerate(zip(ranks, scores.tolist(), strict=True))
        ]
    ranked.sort(key=lambda item: -item[0])
    return [chunk for _, chunk in ranked]
