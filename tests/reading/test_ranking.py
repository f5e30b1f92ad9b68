"""Ranking: which chunks matter to a question."""

import pytest

from e2llm.reading.ranking import NEIGHBOUR_WEIGHT, rank_by_embedding
from tests.reading.conftest import TEXT


def test_the_chunk_that_repeats_the_question_ranks_first(pair):
    document = pair.compress(
        TEXT,
        chunker=lambda text: [
            (start, min(start + 70, len(text))) for start in range(0, len(text), 70)
        ],
    )
    wanted = document.chunks[3]
    (found,) = pair.ask(wanted.text, document, expand=1, max_new_tokens=1).expanded
    assert abs(found.index - 3) <= 1
    assert pair.rank(wanted.text, [document])[0][2] > 0.5


def test_every_chunk_is_ranked_once_by_its_own_score_and_its_better_neighbours(pair, document):
    ranked = rank_by_embedding(pair.compressor, "Where are the goats?", [document, document])
    scores = {(chunk.document, chunk.chunk): chunk.score for chunk in ranked}
    assert len(scores) == len(ranked) == 2 * document.n_chunks
    least = min(scores.values())

    def rank(chunk) -> float:
        sides = [(chunk.document, chunk.chunk + step) for step in (-1, 1)]
        return chunk.score + NEIGHBOUR_WEIGHT * max(scores.get(side, least) for side in sides)

    ranks = [rank(chunk) for chunk in ranked]
    assert ranks == pytest.approx(sorted(ranks, reverse=True), abs=1e-5)


def test_what_nearly_repeats_a_better_chunk_comes_last_unless_it_names_something_new(pair):
    section = (
        "The housing is opened with two tools and the seals are then cleaned with a dry cloth, "
        "while the inlets stay covered and the pump rests on its side for at least an hour before "
    )
    endings = ("it is filled. ", "it is filled! ", "it holds 70 bar. ", "Ann may see it. ")
    size = len(section) + 20
    text = "".join((section + ending).ljust(size) for ending in endings)
    document = pair.compress(
        text, chunker=lambda text: [(at, at + size) for at in range(0, len(text), size)]
    )
    order = [chunk.chunk for chunk in pair.rank("How is the pump filled?", [document])]
    assert order[-1] in (0, 1)
    assert sorted(order) == [0, 1, 2, 3]
    assert {2, 3} <= set(order[:3])
