"""Ranking by words: ids and names are found as they are written, and alike chunks count once."""

import pytest

from e2llm.chunking.chunker import Chunker
from e2llm.reading.lexical import find_names, score_words

ROWS = "".join(f"INV-{n:05d},Acme,{7 * n}.00\n" for n in range(300))
PEOPLE = " ".join(
    f"{first} {last} has the office phone {100 + n}."
    for n, (first, last) in enumerate(
        (first, last) for first in ("Greta", "Hans", "Ida") for last in ("Lund", "Berg", "Dahl")
    )
)


def lines(size):
    return Chunker(size)


@pytest.mark.parametrize("number", [0, 17, 250, 299])
def test_an_id_is_found_where_it_stands(pair, number):
    document = pair.compress(ROWS, chunker=lines(120))
    best = pair.rank(f"What is the amount of invoice INV-{number:05d}?", [document])[0]
    start, end = document.spans[best.chunk]
    assert f"INV-{number:05d}" in ROWS[start:end]


def test_a_name_of_words_that_others_share_is_found_in_the_chunk_that_has_them_together(pair):
    document = pair.compress(PEOPLE, chunker=lines(50))
    (place,) = find_names("What is the office phone of Ida Berg?", [document])
    start, end = document.spans[place[1]]
    assert "Ida Berg" in PEOPLE[start:end]


def test_a_name_that_several_chunks_hold_singles_out_none(pair):
    document = pair.compress("Ann Lee sat. " * 30, chunker=lines(60))
    assert find_names("Who is Ann Lee?", [document]) == []


def test_a_rare_word_weighs_more_than_a_common_one(pair):
    text = "The town has a mill. The town has a gate. The town has a beacon. " * 1
    document = pair.compress(text, chunker=lines(24))
    (scores,) = score_words("the town beacon", [document])
    start, end = document.spans[int(scores.argmax())]
    assert "beacon" in text[start:end]


def test_a_documents_name_counts_for_its_chunks(pair):
    one, two = (pair.compress("The fee is due in May.", name=name) for name in ("acme", "borealis"))
    scores = score_words("When is the fee of Borealis due?", [one, two])
    assert scores[1][0] > scores[0][0]


def test_every_fourth_place_goes_to_the_best_by_words(pair):
    document = pair.compress(ROWS, chunker=lines(120))
    ranked = pair.rank("acme, please", [document])
    (scores,) = score_words("acme, please", [document])
    assert scores[ranked[3].chunk] == scores.max()


def test_of_chunks_that_say_the_same_all_but_the_first_come_last(pair):
    text = "The bridge is old. \nThe  bridge is old. \nThe mill is new. \n"
    spans = [(0, 20), (20, 41), (41, len(text))]
    document = pair.compress(text, chunker=lambda _: spans)
    order = [chunk.chunk for chunk in pair.rank("the bridge", [document])]
    assert sorted(order) == [0, 1, 2]
    assert order[-1] in (0, 1)


def test_a_name_is_not_found_inside_a_longer_one(pair):
    text = "Ida Berg-Holm sits on the left of the hall. Ida Berg sits on the right of the hall. "
    document = pair.compress(text, chunker=lines(45))
    ((_, chunk),) = find_names("Where does Ida Berg sit?", [document])
    assert chunk == 1


def test_a_quotation_of_white_space_names_nothing(pair):
    document = pair.compress("A town.   \n  ", chunker=lambda _: [(0, 7)])
    assert find_names('What is "   "?', [document]) == []
    assert len(pair.rank('What is "   "?', [document])) == 1
