"""RULER's questions: the paragraphs that answer are in every document, at any length and place."""

import json

import pytest

from e2llm.benchmarks import BENCHMARKS
from e2llm.benchmarks.data import CHARS_PER_TOKEN, Data
from e2llm.benchmarks.ruler import LENGTHS, N_SAMPLES
from e2llm.errors import E2LLMError
from e2llm.evaluation.metrics import measure

NAMES = ("qa-squad", "qa-hotpotqa")
N_DOCUMENTS = 120


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Data:
    """SQuAD with one paragraph a question, HotpotQA with ten.

    Every paragraph, of some 400 characters, is one of its own.
    """
    folder = tmp_path_factory.mktemp("data")
    for name, n_paragraphs in (("squad", 1), ("hotpotqa", 10)):
        (folder / name).mkdir()
        with open(folder / name / "dev.jsonl", "w") as file:
            for number in range(N_DOCUMENTS):
                parts = [
                    f"Title {number}.{part}\nKey {number}.{part}. "
                    f"{'The school closes early. ' * 15}".strip()
                    for part in range(n_paragraphs)
                ]
                record = {
                    "id": str(number),
                    "context": "\n\n".join(parts),
                    "question": f"Which is {number}?",
                    "answers": [f"Key {number}.0."],
                }
                print(json.dumps(record), file=file)
    return Data(folder)


def paragraphs_of(sample):
    head, instruction, *parts = sample.document.split("\n\n")
    wanted = (
        "Answer the question based on the given documents. Only give me the answer and do not "
        "output any other words."
    )
    assert head == wanted
    assert instruction == "The following are given documents."
    return parts


@pytest.mark.parametrize("name", NAMES)
def test_the_paragraphs_of_the_question_are_among_others_up_to_the_length(name, data):
    n_own = 1 if name == "qa-squad" else 10
    places = set()
    for sample in BENCHMARKS[name].load("full", 0, data):
        parts = paragraphs_of(sample)
        number = sample.id.partition("-")[2]
        own = [place for place, part in enumerate(parts) if f"Key {number}." in part]
        assert len(own) == n_own
        assert [part.partition(":\n")[0] for part in parts] == [
            f"Document {place}" for place in range(1, len(parts) + 1)
        ]
        texts = [part.partition(":\n")[2] for part in parts]
        assert len(set(texts)) == len(texts) == sample.groups["paragraphs"]
        n_chars = sum(map(len, texts))
        n_most = sample.groups["length"] * CHARS_PER_TOKEN
        assert n_chars <= n_most
        assert n_chars > n_most - 500 or len(texts) == N_DOCUMENTS * n_own
        places.add(own[0])
    assert len(places) > 5


@pytest.mark.parametrize("name", NAMES)
def test_every_length_asks_the_same_questions_and_another_seed_asks_others(name, data):
    benchmark = BENCHMARKS[name]
    by_length = {
        n: [s.question for s in benchmark.load("full", 0, data) if s.groups["length"] == n]
        for n in LENGTHS["full"]
    }
    first, *others = by_length.values()
    assert len(set(first)) == N_SAMPLES["full"]
    assert all(own == first for own in others)
    (quick,) = benchmark.load("quick", 0, data)
    assert quick.question != benchmark.load("quick", 1, data)[0].question
    assert quick.question.startswith("Answer the question based on the given documents.")


def test_paragraphs_that_are_longer_than_the_length_are_all_kept(tmp_path):
    (tmp_path / "hotpotqa").mkdir()
    record = {
        "id": "1",
        "context": "\n\n".join(f"{n} {'long ' * 500}" for n in range(10)),
        "question": "Which?",
        "answers": ["long"],
    }
    (tmp_path / "hotpotqa" / "dev.jsonl").write_text(json.dumps(record))
    (sample,) = BENCHMARKS["qa-hotpotqa"].load("quick", 0, Data(tmp_path))
    assert len(paragraphs_of(sample)) == 10


@pytest.mark.parametrize("name", NAMES)
def test_any_of_the_answers_is_right(name):
    assert measure(BENCHMARKS[name].metrics, "It was Paris.", ["the capital", "paris"]) == {
        "match_part": 100
    }


@pytest.mark.parametrize("name", NAMES)
def test_data_that_cannot_be_had_is_told_by_name(name, tmp_path):
    with pytest.raises(E2LLMError, match=rf"no folder {name.removeprefix('qa-')}.*dev\.jsonl"):
        BENCHMARKS[name].load("quick", 0, Data(tmp_path))
