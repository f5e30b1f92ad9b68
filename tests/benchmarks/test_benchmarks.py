"""Benchmarks: samples are what they say, and the same for the same seed.

Data that is not there is told by name.
"""

import subprocess
import sys

import pytest

from e2llm.benchmarks import BENCHMARKS, needle
from e2llm.benchmarks.data import BOOKS, Data, repeat
from e2llm.benchmarks.squad import PARAGRAPHS
from e2llm.errors import E2LLMError, UserError
from e2llm.evaluation.metrics import METRICS, measure
from tests.benchmarks.small import N_DOCUMENTS, NAMES, QUESTIONS, make_data


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Data:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_loads_and_the_same_seed_gives_the_same_samples(name, data):
    benchmark = BENCHMARKS[name]
    samples = benchmark.load("quick", 0, data)
    assert samples == benchmark.load("quick", 0, data)
    assert len({sample.id for sample in samples}) == len(samples)
    assert len({sample.digest for sample in samples}) == len(samples)
    assert all(sample.document and sample.question and sample.answers for sample in samples)
    assert set(benchmark.metrics) <= METRICS.keys()
    texts = [sample.document for sample in samples]
    assert all(
        texts[place] == texts[place - 1]
        for place in range(1, len(texts))
        if texts[place] in texts[:place]
    ), "a document would be read twice"


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_right_answer_scores_full_marks(name, data):
    benchmark = BENCHMARKS[name]
    wants_all = {"needle", "match_all"} & set(benchmark.metrics)
    for sample in benchmark.load("quick", 0, data):
        right = " ".join(sample.answers) if wants_all else sample.answers[0]
        scores = measure(benchmark.metrics, right, sample.answers)
        assert all(
            score == (10 if metric == "needle" else 100) or metric == "rouge2"
            for metric, score in scores.items()
        ), scores


@pytest.mark.parametrize("name", NAMES)
def test_the_full_scale_is_all_of_the_data(name, data):
    samples = BENCHMARKS[name].load("full", 0, data)
    n_each = len(PARAGRAPHS["full"]) if name == "squad" else len(QUESTIONS)
    assert len(samples) == N_DOCUMENTS[name] * n_each


@pytest.mark.parametrize("name", NAMES)
def test_data_that_cannot_be_had_is_told_by_name(name, tmp_path):
    with pytest.raises(E2LLMError, match=rf"no folder {name}.*dev\.jsonl"):
        BENCHMARKS[name].load("quick", 0, Data(tmp_path))


def test_a_data_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(UserError, match="`data`"):
        Data(tmp_path / "nowhere")


def test_a_data_set_of_texts_is_no_benchmark(tmp_path):
    (tmp_path / "qmsum").mkdir()
    (tmp_path / "qmsum" / "dev.jsonl").write_text('{"id": "1", "text": "A meeting."}\n')
    with pytest.raises(UserError, match="text without a question"):
        BENCHMARKS["qmsum"].load("quick", 0, Data(tmp_path))


def test_local_books_are_the_haystack_where_there_are_any(tmp_path):
    assert Data().haystack()[0] == "python-reference"
    (tmp_path / BOOKS).mkdir()
    (tmp_path / BOOKS / "dev.jsonl").write_text('{"id": "1", "text": "Once upon a time."}\n')
    assert Data(tmp_path).haystack() == (BOOKS, "Once upon a time.")


@pytest.mark.parametrize("n_chars", [1, 5, 6, 13])
def test_repeated_text_is_as_long_as_asked(n_chars):
    assert repeat("hello ", n_chars) == ("hello " * 3)[:n_chars]


@pytest.mark.parametrize("scale", ["quick", "full"])
def test_needles_stand_once_at_their_depth_and_no_key_is_in_the_question(scale):
    samples = BENCHMARKS["needle"].load(scale, 0, Data())
    for sample in samples:
        wanted = sample.groups["depth"]
        n_needles = needle.SEVERAL if wanted is None else 1
        assert len(sample.answers) == sample.groups["needles"] == n_needles
        for key in sample.answers:
            assert sample.document.count(key) == 1
            assert key not in sample.question
            depth = 100 * sample.document.index(key) / len(sample.document)
            assert wanted is None or abs(depth - wanted) < 10


def test_other_seeds_hide_other_keys():
    first, second = (BENCHMARKS["needle"].load("quick", seed, Data()) for seed in (0, 1))
    keys = {key for sample in first for key in sample.answers}
    assert not any(key in keys for sample in second for key in sample.answers)


def test_no_other_paragraph_holds_the_answer(data):
    for sample in BENCHMARKS["squad"].load("full", 0, data):
        texts = sample.document.split("\n\n")
        n_wanted = sample.groups["paragraphs"]
        assert min(n_wanted, N_DOCUMENTS["squad"] - 1) <= len(texts) <= n_wanted
        assert sum(answer in text for text in texts for answer in sample.answers[:1]) <= 1


@pytest.mark.parametrize(
    ("n_tokens", "bucket"),
    [(0, "0-6K"), (5_999, "0-6K"), (6_000, "6-12K"), (24_000, "24K+"), (100_000, "24K+")],
)
def test_buckets_are_those_of_the_paper(n_tokens, bucket):
    assert BENCHMARKS["qmsum"].bucket(n_tokens) == bucket


def test_benchmarks_metrics_and_report_need_no_torch():
    code = (
        "import sys, e2llm.benchmarks, e2llm.evaluation.report, e2llm.evaluation.figures; "
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout == "False False\n"
