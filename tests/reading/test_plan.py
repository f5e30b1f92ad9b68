"""The plan: what stands in the prompt, and that it fits the window."""

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2llm.errors import WindowError
from e2llm.reading.notices import cut_notice
from e2llm.reading.plan import Plan
from e2llm.reading.planner import UNTRAINED_LEFT_OUT, UNTRAINED_SOFT, UntrainedWarning
from e2llm.reading.prompt import join_neighbours, prompt_parts
from tests.reading.conftest import TEXT


@pytest.mark.parametrize("expand", [0, 1, 3, 1000])
def test_expand_puts_that_many_chunks_back_with_exact_places(pair, document, expand):
    if not expand:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answer = pair.ask("Who?", document, expand=expand, max_new_tokens=2)
    else:
        answer = pair.ask("Who?", document, expand=expand, max_new_tokens=2)
    assert len(answer.expanded) == min(expand, document.n_chunks)
    assert [chunk.index for chunk in answer.expanded] == sorted(
        chunk.index for chunk in answer.expanded
    )
    for chunk in answer.expanded:
        assert chunk.text == TEXT[chunk.start : chunk.end]
        assert chunk.document == "town"
        assert -1.001 <= chunk.score <= 1.001


def test_chunks_that_find_no_room_are_left_out_with_a_notice(pair):
    document = pair.compress(TEXT * 8)
    answer = pair.ask("Who?", document, expand=50, max_new_tokens=8)
    assert 0 < len(answer.expanded) < 50
    assert any("found no room" in notice for notice in answer.notices)
    assert answer.usage.positions + 8 <= 512


def test_many_chunks_to_expand_are_cut_to_the_window_in_few_tries(make_pair):
    pair = make_pair()
    document = pair.compress(TEXT * 40)
    tries, own = [], pair.processor.prompt_ids
    pair.processor.prompt_ids = lambda *parts: tries.append(1) or own(*parts)
    answer = pair.ask("Who?", document, expand=1000, max_new_tokens=4)
    assert len(tries) <= 12
    fits, most = len(answer.expanded), answer.usage.positions + 4
    assert most <= 512
    ranked = pair.rank("Who?", [document])[: fits + 1]
    longer = prompt_parts(
        "Who?",
        [("document", 0)],
        join_neighbours([document], [(which, index) for which, index, _ in ranked]),
        soft=False,
    )
    assert len(own(longer)) + 4 > 512


def test_an_untrained_pair_leaves_its_soft_tokens_out_where_it_expands(pair, document):
    answer = pair.ask("Who?", document, expand=2, max_new_tokens=2)
    assert answer.notices == (UNTRAINED_LEFT_OUT, cut_notice(2))
    assert answer.usage.n_soft == 0


def test_an_untrained_pair_without_expansion_warns_once(make_pair, document):
    pair = make_pair()
    with pytest.warns(UntrainedWarning, match="carry no meaning") as seen:
        answers = [pair.ask("Who?", document, expand=0, max_new_tokens=2) for _ in range(3)]
    assert len(seen) == 1
    assert all(
        answer.notices == (UNTRAINED_SOFT, cut_notice(2)) and answer.usage.n_soft == document.n_soft
        for answer in answers
    )


def test_a_trained_pair_keeps_its_soft_tokens_beside_expanded_chunks_and_says_nothing(trained_pair):
    document = trained_pair.compress(TEXT)
    answer = trained_pair.ask("Who?", document, expand=2, max_new_tokens=2)
    assert answer.usage.n_soft == document.n_soft
    assert answer.notices == (cut_notice(2),)


def test_what_does_not_fit_the_window_is_refused_with_a_ratio_that_fits(trained_pair):
    text = TEXT * 8
    with pytest.raises(
        WindowError, match=r"window holds 512; compress with a ratio of at least (\d+)"
    ) as error:
        trained_pair.ask("Who?", trained_pair.compress(text, ratio=1), expand=0, max_new_tokens=8)
    ratio = float(str(error.value).split("at least ")[1].split()[0])
    trained_pair.ask("Who?", trained_pair.compress(text, ratio=ratio), expand=0, max_new_tokens=8)


def test_what_fits_at_no_ratio_is_refused_with_another_way_out(trained_pair):
    document = trained_pair.compress(TEXT * 120, ratio="chunk")
    with pytest.raises(WindowError, match="fewer documents, or use larger chunks"):
        trained_pair.ask("Who?", document, expand=0, max_new_tokens=8)


def test_a_question_longer_than_the_window_is_refused(pair, document):
    for documents in ([], [document]):
        with pytest.raises(WindowError, match=r"shorten the question|not one chunk fits"):
            pair.ask("Who? " * 600, documents, max_new_tokens=8)


def test_why_a_ratio_was_not_reached_is_said_with_the_answer(trained_pair):
    document = trained_pair.compress(TEXT, ratio=400)
    answer = trained_pair.ask("Who?", document, expand=0, max_new_tokens=2)
    assert document.ratio_note in answer.notices


@settings(deadline=None, max_examples=30)
@given(positions=st.integers(60, 700), least=st.integers(0, 3))
def test_a_plan_holds_the_most_of_the_best_chunks_that_fit(pair, document, positions, least):
    planner, ranked = pair.reader.planner, tuple(pair.rank("Who?", [document]))
    plan = planner.fit("Who?", Plan((document,), False, ranked), positions, least)
    n_expanded = len(plan.expanded)
    assert plan.expanded == ranked[:n_expanded]
    assert len(plan.ids) <= positions or n_expanded == least
    if n_expanded < len(ranked):
        wider = planner.write("Who?", Plan((document,), False, ranked[: n_expanded + 1]))
        assert len(wider.ids) > positions
