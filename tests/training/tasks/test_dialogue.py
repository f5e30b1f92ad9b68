"""Dialogue: several questions in turn."""

import pytest

from e2llm.errors import UserError
from e2llm.training.data.records import QuestionRecord
from tests.training.tasks.samples import QUESTION, OneOther, make, text_of
from tests.training.writing import prose


def test_a_template_that_knows_one_turn_alone_serves_single_questions_and_refuses_a_dialogue(
    make_pair,
):
    pair = make_pair()
    pair.processor.chat_template = "<|start|>{{ messages[0]['content'] }}<|end|>"
    assert make("reasoning", QUESTION, pair, others=OneOther()).answer_ids
    with pytest.raises(UserError, match="each turn of a conversation"):
        make("dialogue", QUESTION, pair, others=OneOther())


@pytest.mark.parametrize("decoder", ["llama", "plain"])
def test_a_dialogue_asks_in_turn_as_a_chat_does(trained_pair, plain, decoder):
    pair = plain if decoder == "plain" else trained_pair
    sample = make("dialogue", QUESTION, pair, others=OneOther(), n_chunks=12)
    ((prompt, answer),) = sample.turns
    question, cue = "Question: What does Ann keep?", "" if decoder == "llama" else "\nAnswer:"
    _, end = pair.processor.turn_ids()
    between = pair.processor.later_turn_ids()
    assert prompt == [*between, *pair.processor.text_ids(question + cue), *end]
    assert sample.answer_ids[-1] == pair.processor.tokenizer.eos_token_id
    assert text_of(pair, answer[:-1]).strip() == "the river"
    assert answer[-1] == pair.processor.tokenizer.eos_token_id


def test_a_dialogue_leaves_out_what_the_document_does_not_answer(pair):
    class Elsewhere(OneOther):
        def about(self):
            return [
                QuestionRecord(answer, record.context, "Who sleeps?", (answer,), "hall")
                for answer in ("Zachary", "Xavier")
            ]

    record = QuestionRecord(
        "q",
        f"{prose(5, 60)} Xavier keeps it. {prose(6, 60)} Zachary sleeps.",
        "Who keeps it?",
        ("Xavier",),
        "hall",
    )
    samples = [make("dialogue", record, pair, seed, Elsewhere(), n_chunks=2) for seed in range(6)]
    assert {text_of(pair, answer[:-1]) for sample in samples for _, answer in sample.turns} == {
        "Xavier"
    }


def test_the_turns_of_a_dialogue_stay_within_the_bound(pair):
    class Many(OneOther):
        def about(self):
            return OneOther().about() * 9

    whole = make("dialogue", QUESTION, pair, others=Many(), max_answer_tokens=4000)
    assert len(whole.turns) == 5
    cut = make(
        "dialogue",
        QUESTION,
        pair,
        others=Many(),
        max_answer_tokens=len(whole.answer_ids) + sum(map(len, whole.turns[0])) + 3,
    )
    assert cut.turns == whole.turns[:1]
