"""What an answer is worth: scores of one answer, and summaries of many.

No torch here.

Token F1 and exact match are SQuAD's (Rajpurkar et al. 2016), ROUGE is the `rouge-score` package's,
G-mean is the geometric mean of the three ROUGE averages as the paper takes it: 25.37, 6.55, 18.75
give its 14.61 on QMSum.
"""

import importlib
import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from e2llm.errors import MissingPackageError

N_RESAMPLES = 1000
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> list[str]:
    """Return a text's words in SQuAD's normalisation: lower case, no punctuation, no articles.

    Example:
        >>> normalise("The  mayor's answer.")
        ['mayors', 'answer']
    """
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def token_overlap(prediction: str, answer: str) -> tuple[float, float, float]:
    """Return precision, recall and F1 of a prediction's words against those of one answer.

    All are 1 where both hold none.
    """
    predicted, wanted = normalise(prediction), normalise(answer)
    if not predicted or not wanted:
        return (float(predicted == wanted),) * 3
    n_same = sum((Counter(predicted) & Counter(wanted)).values())
    precision, recall = n_same / len(predicted), n_same / len(wanted)
    return precision, recall, 2 * precision * recall / (precision + recall) if n_same else 0.0


def token_f1(prediction: str, answers: Sequence[str]) -> float:
    """Return the best token F1 over the answers, 0 to 100."""
    return 100 * max(token_overlap(prediction, answer)[2] for answer in answers)


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """Return 100 where the normalised prediction is one of the answers, else 0."""
    return 100.0 * any(normalise(prediction) == normalise(answer) for answer in answers)


def contains(prediction: str, answers: Sequence[str]) -> float:
    """Return 100 where the prediction holds all answers verbatim, apart from case, else 0."""
    return 100.0 * all(answer.lower() in prediction.lower() for answer in answers)


def match_all(prediction: str, answers: Sequence[str]) -> float:
    """Return the share of the answers, 0 to 100, that the prediction holds, apart from case.

    RULER's `string_match_all`.
    """
    return 100 * float(np.mean([answer.lower() in prediction.lower() for answer in answers]))


def match_part(prediction: str, answers: Sequence[str]) -> float:
    """Return 100 where the prediction holds any of the answers, apart from case, else 0.

    RULER's `string_match_part`.
    """
    return 100.0 * any(answer.lower() in prediction.lower() for answer in answers)


def needle_score(prediction: str, answers: Sequence[str]) -> float:
    """Return 0 to 10: the share of each key's words that the prediction holds, averaged.

    Example:
        >>> needle_score("It is amber 4711.", ["amber falcon 4711 north"])
        5.0
    """
    found = set(normalise(prediction))
    return 10 * float(
        np.mean([np.mean([word in found for word in normalise(answer)]) for answer in answers])
    )


def reconstruction(prediction: str, answers: Sequence[str]) -> dict[str, float]:
    """Return precision, recall and F1 of a restated text, 0 to 100.

    Token overlap, as in the paper's reconstruction table.
    """
    return dict(
        zip(
            ("precision", "recall", "f1"),
            (100 * value for value in token_overlap(prediction, answers[0])),
            strict=True,
        )
    )


def rouge(prediction: str, answers: Sequence[str]) -> dict[str, float]:
    """Return ROUGE-1, 2 and L (F-measure with stemming, 0 to 100), the best over the answers each.

    Raises:
        MissingPackageError: `rouge-score` is not installed.
    """
    scores = [_rouge_scorer().score(answer, prediction) for answer in answers]
    return {
        name: 100 * max(score[name].fmeasure for score in scores)
        for name in ("rouge1", "rouge2", "rougeL")
    }


@cache
def _rouge_scorer() -> Any:
    try:
        scorer: Any = importlib.import_module("rouge_score.rouge_scorer")
    except ImportError as error:
        raise MissingPackageError(
            "ROUGE needs the package rouge-score: pip install 'e2llm[eval]'."
        ) from error
    return scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)


# What benchmarks name: a function of (prediction, answers) that gives one score of the same name,
# or several.
METRICS: dict[str, Callable[[str, Sequence[str]], float | dict[str, float]]] = {
    "f1": token_f1,
    "exact_match": exact_match,
    "contains": contains,
    "match_all": match_all,
    "match_part": match_part,
    "needle": needle_score,
    "reconstruction": reconstruction,
    "rouge": rouge,
}


def measure(names: Sequence[str], prediction: str, answers: Sequence[str]) -> dict[str, float]:
    """Return every score that the named metrics give an answer."""
    scores: dict[str, float] = {}
    for name in names:
        score = METRICS[name](prediction, answers)
        scores |= score if isinstance(score, dict) else {name: score}
    return scores


def _mean(values: np.ndarray) -> np.ndarray:
    return values.mean(-1)[0]


# Summaries that are no plain mean: the scores that they are made of, and how, from (n_scores, ...,
# n_samples) to (...).
SUMMARIES: dict[str, tuple[tuple[str, ...], Callable[[np.ndarray], np.ndarray]]] = {
    "gmean": (
        ("rouge1", "rouge2", "rougeL"),
        lambda values: np.prod(values.mean(-1), 0) ** (1 / 3),
    ),
    "perplexity": (("nats",), lambda values: np.exp(values.mean(-1)[0])),
    "nats_per_token": (
        ("nats_of_tokens", "n_tokens"),
        lambda values: values[0].sum(-1) / values[1].sum(-1),
    ),
}
# Where less is better.
LOWER_IS_BETTER = ("perplexity", "nats")


def summary_names(scores: Sequence[str]) -> list[str]:
    """Return what can be summarised of samples with these scores, in the order to show it.

    Nats are shown as perplexity alone.
    """
    derived = [name for name, (needed, _) in SUMMARIES.items() if set(needed) <= set(scores)]
    return [*(name for name in scores if name != "nats"), *derived]


def summarise(
    name: str, samples: Sequence[Mapping[str, float]], seed: int = 0
) -> tuple[float, float, float]:
    """Return a summary of samples' scores with the ends of its 95 % bootstrap interval.

    The ends are percentiles of 1,000 seeded resamples.

    Args:
        name: A score, or a name in `SUMMARIES`.
        samples: The scores of each sample; at least one.
        seed: Of the resampling.
    """
    value, resampled = _resample(name, samples, seed)
    return value, *_interval(resampled)


def difference(
    name: str,
    samples: Sequence[Mapping[str, float]],
    others: Sequence[Mapping[str, float]],
    seed: int = 0,
) -> tuple[float, float, float]:
    """Return how far one method's summary stands above another's, with its 95 % interval.

    Args:
        name: A score, or a name in `SUMMARIES`.
        samples, others: The scores of the same samples by two methods, in one order; what is drawn
            again is drawn of both.
        seed: Of the resampling.
    """
    (value, resampled), (other, others_resampled) = (
        _resample(name, scores, seed) for scores in (samples, others)
    )
    return value - other, *_interval(resampled - others_resampled)


def _resample(
    name: str, samples: Sequence[Mapping[str, float]], seed: int
) -> tuple[float, np.ndarray]:
    """Return a summary, and what it is on every resample.

    The samples of a resample depend on seed and number of samples alone.
    """
    needed, combine = SUMMARIES.get(name, ((name,), _mean))
    # (n_scores, n_samples)
    values = np.array([[sample[score] for sample in samples] for score in needed], float)
    # (n_resamples, n_samples), drawn with replacement
    picked = np.random.default_rng(seed).integers(0, len(samples), (N_RESAMPLES, len(samples)))
    # (n_scores, n_resamples, n_samples) to (n_resamples,)
    return float(combine(values)), combine(values[:, picked])


def _interval(resampled: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(resampled, [2.5, 97.5])  # of (n_resamples,)
    return float(low), float(high)


def retention(score: float, floor: float, ceiling: float) -> float | None:
    """Return which part of the document's worth a score keeps: (score - floor) / (ceiling - floor).

    None where the document is worth nothing.

    Example:
        >>> retention(30, 10, 50)
        0.5
    """
    return None if ceiling == floor else (score - floor) / (ceiling - floor)


def growth_exponent(sizes: Sequence[float], costs: Sequence[float]) -> float | None:
    """Return the exponent p of a cost that grows as size ** p; None below two sizes.

    Least squares on logarithms.

    Example:
        >>> round(growth_exponent([1, 2, 4], [3, 12, 48]), 3)
        2.0
    """
    points = [
        (size, cost) for size, cost in zip(sizes, costs, strict=True) if size > 0 and cost > 0
    ]
    if len({size for size, _ in points}) < 2:
        return None
    sizes_log, costs_log = np.log(np.array(points)).T  # (n_points,) each
    return float(np.polyfit(sizes_log, costs_log, 1)[0])
