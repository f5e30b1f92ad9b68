"""Passages: answers from chunks as text, and none where no passage says it."""

import numpy as np
import pytest
import torch

from e2llm.chunking.chunker import Chunker, make_spans
from e2llm.reading.planner import Planner
from e2llm.training.data.records import QuestionRecord
from e2llm.training.tasks import TASKS
from e2llm.training.tasks.passages import FIRST, by_words, sentence_at
from e2llm.training.tasks.passages import begin as beginning
from tests.training.tasks.samples import DEFINED, QUESTION, OneOther, make, text_of
from tests.training.writing import prose


class Village(OneOther):
    """Records of other paragraphs, each with a question of its own."""

    def near(self):
        self.n = (getattr(self, "n", 0) + 1) % 9
        context = f"{prose(self.n, 6)} Bo{self.n} keeps the mill. {prose(self.n + 20, 6)}"
        question = f"Who keeps mill {self.n}?"
        return QuestionRecord(f"v{self.n}", context, question, (f"Bo{self.n}",), "hall")


def asked(pair, sample):
    """The questions of a sample with their answers, an end marked by a full stop at the end."""
    turns = [(sample.prompt_ids, sample.answer_ids), *sample.turns]
    texts = [(text_of(pair, prompt), answer) for prompt, answer in turns]
    return [
        (text.rpartition("Question: ")[2].split("?")[0] + "?", text_of(pair, answer[:-1]).strip())
        for text, answer in texts
    ]


def drawn(pair, seeds=60, **bounds):
    others = Village()
    made = [
        make("passages", QUESTION, pair, seed, others, n_chunks=5, **bounds)
        for seed in range(seeds)
    ]
    return [sample for sample in made if sample is not None]


def test_the_prompt_is_that_of_a_plan_of_text(pair):
    for sample in drawn(pair, 10, max_positions=2000):
        text = text_of(pair, sample.prompt_ids)
        assert "Answer the question from the passages below." in text
        assert "(characters " in text
        assert pair.processor.placeholder_id not in sample.prompt_ids
        assert not sample.rows
        assert Planner(pair.config, pair.processor).around("?") < len(sample.prompt_ids)


def test_an_answer_stands_in_the_passages_and_one_that_does_not_is_empty(pair):
    n_empty = n_answered = 0
    for sample in drawn(pair, max_positions=2000):
        passages = text_of(pair, sample.prompt_ids).partition("Question: ")[0]
        for question, answer in asked(pair, sample):
            n_empty += not answer
            n_answered += bool(answer)
            if answer:
                assert answer in passages
            elif question.startswith("Who keeps the river"):
                assert "Ann keeps the river" not in passages
    assert n_empty > 5
    assert n_answered > 10


def test_an_empty_answer_is_the_end_alone(pair):
    end = pair.processor.tokenizer.eos_token_id
    answers = [
        answer
        for sample in drawn(pair, max_positions=2000)
        for answer in (sample.answer_ids, *(own for _, own in sample.turns))
    ]
    assert [end] in answers
    assert all(answer[-1] == end and answer.count(end) == 1 for answer in answers)


def test_a_record_whose_answer_stands_nowhere_gives_no_sample(pair):
    record = QuestionRecord("q", prose(1, 9), "Who?", ("nobody of these",), "hall")
    assert make("passages", record, pair, others=Village()) is None


def test_a_question_for_a_reason_has_its_sentence(pair):
    context = f"{prose(3, 3)} The mill stood still,\nfor the river had frozen over. {prose(4, 3)}"
    record = QuestionRecord("q", context, "Why did the mill stand still?", ("frozen over",), "h")
    answers = {
        answer
        for seed in range(20)
        if (sample := make("passages", record, pair, seed, Village(), n_chunks=5))
        for question, answer in asked(pair, sample)
        if question.startswith("Why")
    }
    assert answers - {""} == {"The mill stood still, for the river had frozen over."}


def test_definitions_are_answered_with_the_sentence_that_gives_them(make_pair):
    pair, found = make_pair(chunk_chars=300), {}
    for seed in range(40):
        sample = make("definitions", DEFINED, pair, seed, n_chunks=30, max_positions=2000)
        if sample is not None:
            found |= {q: a for q, a in asked(pair, sample) if a}
    assert found["What happens if the water rises too high?"].startswith("If the water rises")
    assert found["When are boats stopped?"].startswith("Boats are stopped when")
    assert any(question.endswith(" the lock?") for question in found)
    assert all(" ".join(DEFINED.text.split()).count(answer) == 1 for answer in found.values())


def test_the_first_token_of_an_answer_weighs_more(pair):
    class Model:
        def __call__(self, **inputs):
            raise AssertionError

    labels = torch.tensor([[-100, 5, 6, -100, -100, 7, -100]])
    logits = torch.randn(3, 20, requires_grad=True)
    task = TASKS["passages"]
    nll = torch.nn.functional.cross_entropy(logits, torch.tensor([5, 6, 7]), reduction="none")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("e2llm.training.tasks.passages.answer_logits", lambda *_: logits)
        loss = task.loss(Model(), {"labels": labels})
    expected = nll.sum() + FIRST * (nll[0] + nll[2])
    assert loss.total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert int(loss.n_items) == 3 + 2 * FIRST


def test_chunks_that_share_rare_words_with_a_question_come_first(pair):
    text = "the town. " * 9 + "the sluice. " + "the town. " * 9
    spans = make_spans(text, Chunker(30))
    first = by_words(text, spans, "Where is the sluice of the town?")[0]
    assert "sluice" in text[slice(*spans[first])]
    assert sorted(by_words(text, spans, "?")) == list(np.arange(len(spans)))


@pytest.mark.parametrize(
    ("text", "at", "sentence"),
    [
        ("One. Two\nwords here. Three.", 5, "Two words here."),
        ("A heading\n\nTwo words.", 14, "Two words."),
        ("No end", 0, "No end"),
        ("word " * 99 + ".", 0, ""),
    ],
)
def test_a_sentence_is_read_across_lines(text, at, sentence):
    assert sentence_at(text, at, 3) == sentence


def test_a_long_answer_begins_with_its_first_whole_sentences():
    answer = (
        "Key Points\n- The first is a sentence of some words. A second one follows here. A third."
    )
    assert beginning(answer) == (
        "The first is a sentence of some words. A second one follows here."
    )
    assert beginning("A list: one, two") == ""
