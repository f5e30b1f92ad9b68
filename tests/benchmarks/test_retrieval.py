"""RULER's retrieval family: every value stands once in the text, and the question asks for all."""

import json
import random
import re

import pytest

from e2llm.benchmarks import BENCHMARKS
from e2llm.benchmarks.data import BOOKS, CHARS_PER_TOKEN, Data, repeat
from e2llm.benchmarks.retrieval import TASKS
from e2llm.benchmarks.ruler import LENGTHS
from e2llm.evaluation.metrics import measure

SENTENCE = re.compile(r"One of the special magic (numbers|uuids) for (\S+) is: (\S+)\.")
FORMS = {
    "words": r"[a-z]+-[a-z]+",
    "numbers": r"[1-9]\d{6}",
    "uuids": r"[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}",
}


def make(name, n_tokens=2_000, seed=0, data=None):
    return BENCHMARKS[name].make(n_tokens, random.Random(seed), data or Data())


@pytest.mark.parametrize("name", TASKS)
def test_a_reader_of_every_hidden_sentence_answers_the_question(name):
    document, question, answers = make(name)
    hidden = SENTENCE.findall(document)
    asked = [
        key
        for _, key, _ in dict.fromkeys(hidden)
        if re.search(rf"(for|and|,) {re.escape(key)}[ ,]", question)
    ]
    assert len(set(asked)) == TASKS[name].n_asked
    assert sorted(answers) == sorted(value for _, key, value in hidden if key in asked)
    assert len(answers) == TASKS[name].n_asked * TASKS[name].n_values
    assert all(document.count(answer) == 1 and answer not in question for answer in answers)


@pytest.mark.parametrize(("name", "task"), TASKS.items())
def test_keys_and_values_have_the_form_of_the_task_and_none_is_drawn_twice(name, task):
    document, _, _ = make(name)
    hidden = SENTENCE.findall(document)
    assert all(
        re.fullmatch(FORMS[task.keys], key) and re.fullmatch(FORMS[task.values], value)
        for _, key, value in hidden
    )
    assert {kind for kind, _, _ in hidden} == {task.values}
    assert (
        len({value for *_, value in hidden})
        == len(hidden)
        == len({key for _, key, _ in hidden}) * task.n_values
    )
    assert (len(hidden) == task.n_keys * task.n_values) == (task.haystack != "needles")


@pytest.mark.parametrize(
    ("name", "head", "question"),
    [
        (
            "niah-single-1",
            "A special magic number is hidden within",
            "What is the special magic number for ",
        ),
        (
            "niah-single-3",
            "A special magic uuid is hidden within",
            "What is the special magic uuid for ",
        ),
        (
            "niah-multivalue",
            "Some special magic numbers are hidden within",
            "What are all the special magic numbers for ",
        ),
        (
            "niah-multiquery",
            "Some special magic numbers are hidden within",
            "What are all the special magic numbers for ",
        ),
    ],
)
def test_one_is_spoken_of_as_one_and_several_as_several(name, head, question):
    document, asked, _ = make(name)
    assert document.startswith(head)
    assert asked.startswith(question)
    assert asked.endswith(" mentioned in the provided text?")
    assert (", and " in asked) == (name == "niah-multiquery")


@pytest.mark.parametrize("name", ["niah-single-2", "niah-multikey-1", "niah-multivalue"])
def test_without_what_is_hidden_the_text_is_the_haystack(name, tmp_path):
    (tmp_path / BOOKS).mkdir()
    text = " ".join(f"The {n}th of them went home." for n in range(100))
    (tmp_path / BOOKS / "dev.jsonl").write_text(json.dumps({"id": "1", "text": text}))
    data = Data(tmp_path)
    document = make(name, data=data)[0].partition("\n")[2]
    assert (
        SENTENCE.sub("", document).split()
        == repeat(data.haystack()[1], 2_000 * CHARS_PER_TOKEN).split()
    )
    assert all(
        document[: match.start()].rstrip()[-1:] in ("", ".")
        for match in SENTENCE.finditer(document)
    )


def test_noise_is_rulers_and_needles_hide_among_needles():
    document, _, _ = make("niah-single-1", 4_000)
    assert document.count("The grass is green. The sky is blue.") == 4_000 // 25
    lines = make("niah-multikey-3", 4_000)[0].splitlines()[1:]
    assert len(lines) == 1 + 4_000 // 80
    assert all(SENTENCE.fullmatch(line) for line in lines)


@pytest.mark.parametrize("name", TASKS)
def test_places_differ_from_sample_to_sample(name):
    places = set()
    for seed in range(12):
        document, _, answers = make(name, seed=seed)
        places.add(10 * document.index(answers[0]) // len(document))
    assert len(places) > 3


@pytest.mark.parametrize("name", TASKS)
def test_quick_is_one_sample(name):
    benchmark = BENCHMARKS[name]
    (quick,) = benchmark.load("quick", 0, Data())
    assert quick.groups["length"] == LENGTHS["quick"][0]
    assert not set(quick.answers) & set(benchmark.load("quick", 1, Data())[0].answers)
    for n_tokens in (4_000, 128_000):
        # Keys, numbers and uuids take more tokens than words of their length.
        least = {"noise": 0.8, "text": 0.8, "needles": 0.3}[TASKS[name].haystack]
        assert least < len(make(name, n_tokens)[0]) / (n_tokens * CHARS_PER_TOKEN) < 1.2


@pytest.mark.parametrize("name", TASKS)
def test_the_score_is_the_share_of_the_values_and_an_answer_has_room_for_them(name):
    benchmark = BENCHMARKS[name]
    (sample,) = benchmark.load("quick", 0, Data())
    some = f"They are {' and '.join(sample.answers[:1])}."
    assert measure(benchmark.metrics, some, sample.answers) == {
        "match_all": 100 / len(sample.answers)
    }
    assert len(" ".join(sample.answers)) < benchmark.longest_answer(sample) <= 128
