"""The plan by budget: it never exceeds it, each chunk stands once, more budget removes no text."""

import random
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2llm.errors import UserError, WindowError
from e2llm.reading.budget import Allocator, Shares
from e2llm.reading.planner import UNTRAINED_SOFT
from e2llm.reading.prompt import PASSAGES_INSTRUCTION
from e2llm.reading.reader import WHOLE_HINT
from tests.reading.conftest import TEXT

MIXES = [Shares(), Shares(text=0.4, fine=0.3), Shares(text=0.0, fine=0.5, fine_ratio=4)]


@pytest.fixture(scope="module")
def documents(trained_pair):
    words = TEXT.split()
    texts = [TEXT * 3]
    for seed in range(2):
        random.Random(seed).shuffle(words)
        texts.append(" ".join(words))
    return [
        trained_pair.compress(text, f"town {which}", ratio=8) for which, text in enumerate(texts)
    ]


def plan(pair, question, documents, budget, shares=MIXES[0], whole=False):
    allocator = Allocator(pair.reader.planner, pair.compressor.soften, shares)
    return allocator.plan(question, documents, pair.rank(question, documents), budget, whole)


@settings(deadline=None, max_examples=40)
@given(
    budget=st.integers(1, 500),
    shares=st.sampled_from(MIXES),
    whole=st.booleans(),
    question=st.sampled_from(["Who?", "Which pump is painted green, and by whom?"]),
)
def test_a_plan_keeps_to_its_budget_and_each_chunk_stands_once(
    trained_pair, documents, budget, shares, whole, question
):
    if budget < 200:  # which may hold not one chunk
        with suppress(UserError):
            made = plan(trained_pair, question, documents, budget, shares, whole)
            assert len(made.ids) <= budget
        return
    made = plan(trained_pair, question, documents, budget, shares, whole)
    assert len(made.ids) <= budget
    places = [(row.document, row.chunk) for row in made.chunks]
    assert len(places) == len(set(places)) > 0
    assert len(places) + made.n_left_out == sum(document.n_chunks for document in documents)
    n_soft = 0 if made.soft_tokens is None else len(made.soft_tokens)
    assert made.ids.count(trained_pair.processor.placeholder_id) == n_soft
    assert n_soft == sum(row.positions for row in made.chunks if row.form == "soft")
    again = plan(trained_pair, question, documents, budget, shares, whole)
    assert (again.ids, again.chunks) == (made.ids, made.chunks)


@settings(deadline=None, max_examples=30)
@given(budget=st.integers(200, 400), more=st.integers(0, 500), shares=st.sampled_from(MIXES[:2]))
def test_more_budget_never_removes_text(trained_pair, documents, budget, more, shares):
    fewer = plan(trained_pair, "Who?", documents, budget, shares)
    wider = plan(trained_pair, "Who?", documents, budget + more, shares)
    assert set(fewer.expanded) <= set(wider.expanded)


def test_what_fits_as_text_is_the_bare_decoder_on_the_text(trained_pair):
    text = TEXT[:300]
    document = trained_pair.compress(text, "town")
    made = trained_pair.plan("Who?", document, budget=400, max_new_tokens=4)
    assert not made.soft
    assert {row.form for row in made.chunks} == {"text"}
    whole = (
        f"{PASSAGES_INSTRUCTION}\n\nFrom town (characters 0-{len(text)}):\n{text.strip()}\n\n"
        "Question: Who?"
    )
    assert made.ids == trained_pair.processor.prompt_ids([whole])
    asked = trained_pair.ask("Who?", document, budget=400, max_new_tokens=4)
    assert asked.plan.ids == made.ids
    assert asked.usage.n_soft == 0


def test_a_question_about_the_whole_reads_every_chunk_as_finely_as_fits(trained_pair, documents):
    ratios = []
    for budget in (150, 300, 500):
        made = plan(trained_pair, "Summarise.", documents[:1], budget, whole=True)
        assert not made.expanded
        assert made.n_left_out == 0 or made.notices
        ratios.append(min(row.ratio for row in made.chunks))
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[0] > ratios[-1]


def test_the_nth_chunk_that_finds_no_room_is_told(trained_pair, documents):
    made = plan(trained_pair, "Summarise.", documents, 110, whole=True)
    assert made.n_left_out
    assert f"{made.n_left_out:,} of" in made.notices[0]


def test_ten_thousand_notes_can_be_asked(trained_pair, document):
    made = trained_pair.plan("Who?", [document] * 2_000, max_new_tokens=4)
    assert made.expanded
    assert len(made.ids) <= 508


def test_soft_tokens_made_at_question_time_are_those_of_compressing(trained_pair, documents):
    document = documents[0]
    at_two = trained_pair.compress(document.text, ratio=2)
    made = trained_pair.compressor.soften(document, range(document.n_chunks), 2)
    assert [len(part) for part in made] == at_two.n_soft_per_chunk.tolist()
    for part, own in zip(
        made, at_two.soft_tokens.split(at_two.n_soft_per_chunk.tolist()), strict=True
    ):
        assert (part - own).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("wanted", "error", "message"),
    [
        ({"budget": 0}, UserError, "`budget`"),
        ({"budget": "many"}, UserError, "`budget`"),
        ({"budget": 10}, UserError, "`budget` \\(=10\\).*raise the budget"),
        ({"budget": 5000}, WindowError, "`budget` \\(=5000\\).*window of 512"),
        ({"whole": True, "expand": 2}, UserError, "leave `expand` out"),
    ],
)
def test_a_budget_that_cannot_be_kept_is_refused_in_one_line(
    trained_pair, documents, wanted, error, message
):
    with pytest.raises(error, match=message) as raised:
        trained_pair.ask("Who?", documents, max_new_tokens=4, **wanted)
    assert "\n" not in str(raised.value)


def test_a_plan_prints_as_a_table(trained_pair, documents):
    made = plan(trained_pair, "Who?", documents, 300, MIXES[1])
    lines = str(made).splitlines()
    assert lines[0].split() == ["form", "ratio", "positions", "score", "place"]
    assert any(line.startswith("text") for line in lines)
    assert any(line.startswith("soft") for line in lines)
    assert lines[-1] == f"{len(made.ids):,} of 300 decoder positions in all"


def test_a_budget_beside_expand_bounds_the_chunks(trained_pair, documents):
    n_soft = sum(document.n_soft for document in documents)
    answer = trained_pair.ask("Who?", documents, 50, budget=n_soft + 150, max_new_tokens=4)
    assert answer.usage.n_soft == n_soft
    assert answer.usage.positions <= n_soft + 150
    assert any("of the budget" in note or "the budget of" in note for note in answer.notices)


def test_a_summary_of_what_was_not_read_whole_is_told_of_another_way(trained_pair, documents):
    for question, n_hints in (("Summarise the report.", 1), ("Who painted the pump?", 0)):
        made = trained_pair.plan(question, documents, budget=250, max_new_tokens=4)
        assert made.notices.count(WHOLE_HINT) == n_hints
    made = trained_pair.plan("Summarise it.", documents, budget=250, whole=True, max_new_tokens=4)
    assert WHOLE_HINT not in made.notices


def test_a_chunk_longer_than_the_budget_of_the_pair_is_read_all_the_same(make_pair):
    pair = make_pair(trained=True, budget=100)
    document = pair.compress(TEXT, chunker=lambda text: [(0, len(text))])
    made = pair.plan("Who?", document, max_new_tokens=4)
    assert len(made.expanded) == 1


def test_where_the_best_chunk_does_not_fit_the_next_that_does_is_read(pair):
    text = TEXT + TEXT[:60]
    document = pair.compress(text, chunker=lambda text: [(0, len(TEXT)), (len(TEXT), len(text))])
    made = plan(pair, "Who?", [document], 150)
    assert [chunk.chunk for chunk in made.expanded] == [1]


def test_only_neighbours_share_a_row_of_the_table(trained_pair, documents):
    made = plan(trained_pair, "Who?", documents, 300)
    n_runs = sum(
        (row.document, row.chunk - 1) not in {(own.document, own.chunk) for own in made.chunks}
        for row in made.chunks
    )
    assert sum(line.startswith("text") for line in str(made).splitlines()) == n_runs


def test_an_untrained_pair_says_that_the_whole_tells_it_nothing(pair, document):
    made = plan(pair, "Summarise.", [document], 130, whole=True)
    assert UNTRAINED_SOFT in made.notices


def test_white_space_is_not_left_out(trained_pair):
    document = trained_pair.compress(TEXT + "\n" * 400 + TEXT)
    made = plan(trained_pair, "Summarise.", [document], 500, whole=True)
    assert made.n_left_out == 0
    assert not made.notices


def test_a_budget_below_the_soft_tokens_is_refused(trained_pair, documents):
    with pytest.raises(UserError, match=r"`budget` \(=40\).*raise the budget"):
        trained_pair.plan("Who?", documents, 2, budget=40, max_new_tokens=4)
    with pytest.raises(UserError, match=r"`budget` \(=1\)"):
        trained_pair.plan("Who?", [], budget=1, max_new_tokens=4)
