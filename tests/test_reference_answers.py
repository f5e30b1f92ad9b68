"""`bench/reference_answers.py`: its questions, and its judge by hand."""

import sys
from pathlib import Path

import pytest

from examples.python_reference import reference

BENCH = Path(__file__).parent.parent / "bench"
DEFAULTS = [["left to right"], ["when the function is defined", "definition time", "once"]]


@pytest.fixture
def bench(monkeypatch):
    """The script, as a module."""
    monkeypatch.syspath_prepend(str(BENCH))
    import reference_answers

    return reference_answers


def test_forty_questions_each_with_an_id_of_its_own(bench):
    questions = bench.load_questions()
    assert len({question["id"] for question in questions}) == len(questions) == 40
    assert all(question["must"] and all(question["must"]) for question in questions)


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="quotes the reference of Python 3.11")
def test_every_evidence_stands_in_the_reference(bench):
    text = reference()
    lost = [q["id"] for q in bench.load_questions() if not bench.find_evidence(q["evidence"], text)]
    assert lost == []


def test_no_question_answers_itself(bench):
    questions = bench.load_questions()
    assert not [q["id"] for q in questions if bench.is_right(q["question"], q["must"])]


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("From left to right, once, at definition.", True),
        ("They are evaluated LEFT TO\nRIGHT  when the function\n  is defined.", True),
        ("The values are evaluated from left to right when the", False),  # clipped
        ("Anew in every call, from left to right.", False),
        ("", False),
    ],
)
def test_an_answer_is_right_if_it_holds_one_of_each(bench, answer, right):
    assert bench.is_right(answer, DEFAULTS) is right


def test_a_quote_is_found_across_line_ends_wherever_it_stands(bench):
    assert bench.find_evidence("one (two)", "one\n  (two), one two, one (two)") == [5, 26]
