"""Metrics against cases worked out by hand, and against the packages that compute them."""

import math

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer

from e2llm.evaluation import metrics


def test_normalisation_is_squads():
    assert metrics.normalise("The Mayor's  budget -- an approval, A.") == [
        "mayors",
        "budget",
        "approval",
    ]


# Two of three predicted words are among the four wanted ones: P = 2/3, R = 2/4, F1 = 2 * (1/3) /
# (7/6) = 4/7.
def test_token_overlap_by_hand():
    precision, recall, f1 = metrics.token_overlap(
        "mayor approved it", "the mayor approved big budget"
    )
    assert (precision, recall) == (2 / 3, 1 / 2)
    assert f1 == pytest.approx(4 / 7)


def test_a_word_counts_as_often_as_both_hold_it():
    assert metrics.token_overlap("no no no", "no no yes") == pytest.approx((2 / 3, 2 / 3, 2 / 3))


@pytest.mark.parametrize(
    ("prediction", "answer", "score"),
    [("", "", 100), ("the", "", 100), ("x", "", 0), ("", "x", 0), ("the", "x", 0)],
)
def test_answers_without_words(prediction, answer, score):
    assert metrics.token_f1(prediction, [answer]) == score
    assert metrics.exact_match(prediction, [answer]) == score


def test_the_best_answer_counts():
    assert metrics.token_f1("the mayor", ["a king", "mayor"]) == 100
    assert metrics.exact_match("The Mayor!", ["a king", "mayor"]) == 100
    assert metrics.exact_match("mayors", ["a king", "mayor"]) == 0


# "the cat sat" against "the cat ran": one-grams 2 of 3 and 2 of 3; two-grams 1 of 2 and 1 of 2;
# longest common run 2 of 3.
def test_rouge_by_hand():
    assert metrics.rouge("the cat sat", ["the cat ran"]) == pytest.approx(
        {"rouge1": 200 / 3, "rouge2": 50, "rougeL": 200 / 3}
    )


def test_rouge_is_the_packages_and_the_best_answer_counts():
    prediction, answers = (
        "the mayors approved the budgets late",
        ["a mayor approves budgets", "the budget was late"],
    )
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    for name, score in metrics.rouge(prediction, answers).items():
        assert score == 100 * max(
            scorer.score(answer, prediction)[name].fmeasure for answer in answers
        )


def test_gmean_of_the_papers_averages_is_the_papers():
    samples = [
        {"rouge1": 25.37 - 5, "rouge2": 6.55 - 1, "rougeL": 18.75},
        {"rouge1": 25.37 + 5, "rouge2": 6.55 + 1, "rougeL": 18.75},
    ]
    assert metrics.summarise("gmean", samples)[0] == pytest.approx(14.61, abs=0.005)


def test_perplexity_is_the_exponential_of_mean_nats():
    assert metrics.summarise("perplexity", [{"nats": math.log(2)}, {"nats": math.log(8)}])[
        0
    ] == pytest.approx(4)


# Of "amber falcon 4711" two of three words are found, of "birch cedar 1234" none: (2/3 + 0) / 2 *
# 10.
def test_needle_score_by_hand():
    assert metrics.needle_score(
        "Amber and 4711.", ["amber falcon 4711", "birch cedar 1234"]
    ) == pytest.approx(10 / 3)
    assert metrics.contains("the code is AMBER falcon 4711", ["amber falcon 4711"]) == 100
    assert (
        metrics.contains("the code is amber falcon 4711", ["amber falcon 4711", "birch cedar 1234"])
        == 0
    )


def test_reconstruction_by_hand():
    assert metrics.reconstruction("a river runs", ["The river runs through town"]) == pytest.approx(
        {"precision": 100, "recall": 50, "f1": 200 / 3}
    )


@pytest.mark.parametrize(
    ("score", "floor", "ceiling", "kept"),
    [(30, 10, 50, 0.5), (10, 10, 50, 0), (60, 10, 50, 1.25), (5, 10, 10, None)],
)
def test_retention_by_hand(score, floor, ceiling, kept):
    assert metrics.retention(score, floor, ceiling) == kept


def test_the_bootstrap_interval_is_that_of_the_mean():
    values = np.random.default_rng(1).normal(50, 10, 400)
    mean, low, high = metrics.summarise("f1", [{"f1": value} for value in values])
    assert mean == pytest.approx(values.mean())
    error = values.std() / math.sqrt(len(values))
    assert (mean - low) / error == pytest.approx(1.96, abs=0.25)
    assert (high - mean) / error == pytest.approx(1.96, abs=0.25)


def test_the_same_seed_gives_the_same_interval_and_one_sample_has_none():
    samples = [{"f1": float(value)} for value in range(10)]
    assert metrics.summarise("f1", samples, seed=3) == metrics.summarise("f1", samples, seed=3)
    assert metrics.summarise("f1", samples, seed=3) != metrics.summarise("f1", samples, seed=4)
    assert metrics.summarise("f1", samples[4:5]) == (4, 4, 4)


def test_summaries_are_shown_where_their_scores_are_there():
    assert metrics.summary_names(["rouge1", "rouge2", "rougeL", "nats"]) == [
        "rouge1",
        "rouge2",
        "rougeL",
        "gmean",
        "perplexity",
    ]
    assert metrics.summary_names(["f1"]) == ["f1"]


def test_growth_exponents_by_hand():
    assert metrics.growth_exponent([1, 2, 4], [5, 10, 20]) == pytest.approx(1)
    assert metrics.growth_exponent([1, 10], [3, 300]) == pytest.approx(2)
    assert metrics.growth_exponent([1, 1], [3, 4]) is None
