"""RULER's tasks: the answer is what a reader of all would find, at the paper's settings."""

import random
import re
from collections import Counter

import pytest

from e2llm.benchmarks import BENCHMARKS, common_words
from e2llm.benchmarks.data import Data
from e2llm.benchmarks.ruler import LENGTHS, N_SAMPLES
from e2llm.evaluation.metrics import match_all, match_part

NAMES = ("variable-tracking", "common-words", "frequent-words")


def make(name, n_tokens, seed=0):
    return BENCHMARKS[name].make(n_tokens, random.Random(seed), Data())


@pytest.mark.parametrize("n_tokens", [1_000, 4_000])
def test_variables_are_found_by_carrying_out_the_assignments(n_tokens):
    document, question, answers = make("variable-tracking", n_tokens)
    values: dict[str, str] = {}
    for name, of, number in re.findall(r"VAR ([A-Z]{5}) = (?:VAR ([A-Z]{5})|(\d{5})) ", document):
        values[name] = number or values[of]  # a chain out of order would be a KeyError
    assert list(values) == answers
    assert len(set(answers)) == 5
    assert set(values.values()) == {re.search(r"\d{5}", question)[0]}  # type: ignore[index]
    assert document.count("The grass is green.") == n_tokens // 25


@pytest.mark.parametrize(
    ("n_tokens", "often", "seldom"), [(1_000, 6, 1), (4_000, 30, 3), (64_000, 30, 3)]
)
def test_common_words_stand_30_times_and_the_others_three_times(n_tokens, often, seldom):
    document, _, answers = make("common-words", n_tokens)
    numbers, words = zip(*re.findall(r"(\d+)\. (\S+)", document), strict=True)
    assert list(map(int, numbers)) == list(range(1, len(words) + 1))
    counts = Counter(words)
    assert {counts.pop(answer) for answer in answers} == {often}
    assert len(answers) == 10
    assert set(counts.values()) == {seldom}
    assert len(counts) > 50


def test_where_the_vocabulary_ends_words_are_joined():
    words = common_words._draw(["one", "two", "three"], 10, random.Random(0))
    assert len(set(words)) == 10
    assert {"one", "two", "three"} < set(words)


def test_frequent_words_fall_as_the_square_of_their_rank():
    document, _, answers = make("frequent-words", 1_000)
    counts = Counter(word for word in document.split() if re.fullmatch(r"[a-z]{6}|\.\.\.", word))
    # 500 words: 500 / 1.645 = 303.96 of the first rank, a quarter, a ninth and a sixteenth of that
    # for the next.
    assert counts["..."] == 303
    assert [counts[answer] for answer in answers] == [75, 33, 18]
    assert (
        max(count for word, count in counts.items() if word not in (*answers, "..."))
        == 303.96 // 25
    )
    assert len(make("frequent-words", 4_000)[2]) == 3


@pytest.mark.parametrize("name", NAMES)
def test_lengths_and_samples_are_those_of_the_paper_and_no_answer_is_in_the_question(name):
    quick = BENCHMARKS[name].load("quick", 0, Data())
    assert [sample.groups["length"] for sample in quick] == [1_000]
    assert LENGTHS["full"] == (4_000, 8_000, 16_000, 32_000, 64_000, 128_000)
    assert N_SAMPLES["full"] == 100
    assert all(answer not in sample.question for sample in quick for answer in sample.answers)
    assert not {
        answer for sample in BENCHMARKS[name].load("quick", 1, Data()) for answer in sample.answers
    } & set(quick[0].answers)


def test_match_all_is_the_share_that_is_there_and_match_part_whether_any_is():
    assert match_all("They are abcde and FGHIJ.", ["ABCDE", "FGHIJ", "KLMNO", "PQRST"]) == 50
    assert match_all("", ["ABCDE"]) == 0
    assert match_part("in Paris, France", ["paris", "the capital"]) == 100
    assert match_part("London", ["paris", "the capital"]) == 0


def test_match_all_is_the_harness_s():
    harness = pytest.importorskip("lm_eval.tasks.ruler.common_utils")
    for prediction in ("amber, Falcon and oak", "nothing", "AMBERS"):
        assert match_all(prediction, ["amber", "falcon", "iris"]) == pytest.approx(
            100 * harness.string_match_all([prediction], [["amber", "falcon", "iris"]])
        )
