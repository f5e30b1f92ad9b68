"""Conversations: a question sees the turns before it, and what was read stays where it stands."""

import pytest

from e2llm.errors import UserError
from e2llm.reading.reader import Reader
from tests.reading.conftest import TEXT

TURNS = [("Who painted the pump?", "Ann did."), ("When?", "In May.")]


@pytest.fixture(scope="module")
def document_of_town(trained_pair):
    return trained_pair.compress(TEXT, "town")


def messages_of(turns, question):
    said = [
        {"role": role, "content": text}
        for turn in turns
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]
    return [*said, {"role": "user", "content": question}]


def test_the_first_question_and_its_answer_stand_before_the_second(trained_pair):
    document = trained_pair.compress(TEXT * 3, "town")
    first = trained_pair.plan("Who?", document, budget=250, max_new_tokens=4)
    both = trained_pair.plan(
        "And the red one?", document, budget=250, max_new_tokens=4, turns=[("Who?", "Ann.")]
    )
    assert both.ids[: len(first.ids)] == first.ids
    text = trained_pair.processor.tokenizer.decode(both.ids[len(first.ids) :])
    assert "Ann." in text
    assert "Question: And the red one?" in text
    assert set(first.expanded) <= set(both.expanded)
    assert len(both.expanded) == len(set(both.expanded))


def test_the_cache_of_the_first_question_serves_the_second(make_pair):
    pair = make_pair(trained=True)
    document = pair.compress(TEXT * 3, "town")
    first = pair.ask("Who?", document, budget=250, max_new_tokens=4)
    second = pair.ask("And?", document, budget=250, max_new_tokens=4, turns=[("Who?", first.text)])
    assert second.usage.n_reused >= first.usage.positions


def test_chat_is_ask_with_turns(trained_pair):
    document = trained_pair.compress(TEXT, "town")
    chatted = trained_pair.chat(messages_of(TURNS, "Why?"), document, max_new_tokens=4)
    asked = trained_pair.ask("Why?", document, turns=TURNS, max_new_tokens=4)
    assert (chatted.text, chatted.plan.ids) == (asked.text, asked.plan.ids)


def test_turns_without_documents_are_the_chat_template_of_the_decoder(trained_pair):
    made = trained_pair.plan("Why?", [], max_new_tokens=4, turns=TURNS[:1])
    tokenizer = trained_pair.processor.tokenizer
    rendered = tokenizer.apply_chat_template(
        [
            {"role": "user", "content": TURNS[0][0]},
            {"role": "assistant", "content": TURNS[0][1]},
            {"role": "user", "content": "Why?"},
        ],
        tokenize=False,
        add_generation_prompt=True,
    )
    # Every answer ends with the id that ends what is generated, here beside the template's own.
    assert tokenizer.decode(made.ids).replace("<eos>", "") == rendered


def test_turns_that_find_no_room_are_left_out_with_a_notice(trained_pair):
    document = trained_pair.compress(TEXT, "town")
    turns = [("Who? " * 20, "Ann. " * 20)] * 6
    made = trained_pair.plan("Why?", document, budget=200, max_new_tokens=4, turns=turns)
    assert len(made.ids) + 4 <= 512
    assert any("of 6 turns before the question were left out" in note for note in made.notices)


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "assistant", "content": "Hi."}],
        messages_of(TURNS, "Why?")[:-1],
        [{"role": "user"}, {"role": "user", "content": "Why?"}],
        ["Why?"],
        [{"role": "user", "content": " "}],
    ],
)
def test_messages_of_another_form_are_refused_in_one_line(trained_pair, messages):
    with pytest.raises(UserError) as raised:
        trained_pair.chat(messages, max_new_tokens=4)
    assert "\n" not in str(raised.value)


def test_turns_beside_expand_are_refused(trained_pair, document):
    with pytest.raises(UserError, match="leave `expand` out"):
        trained_pair.ask("Why?", document, 2, turns=TURNS, max_new_tokens=4)


def test_a_turn_that_is_too_long_is_left_out_and_not_the_question(trained_pair, document_of_town):
    turns = [("word " * 1024, "a"), ("Who is Bob?", "Bob")]
    for documents in ([], [document_of_town]):
        made = trained_pair.plan("Who?", documents, max_new_tokens=4, turns=turns)
        assert len(made.ids) + 4 <= 512
        assert any("of 2 turns" in note for note in made.notices)


def test_many_turns_are_ranked_in_few_passes(trained_pair, document_of_town, monkeypatch):
    ranked, own = [], Reader.rank
    monkeypatch.setattr(Reader, "rank", lambda self, *asked: ranked.append(1) or own(self, *asked))
    turns = [(f"Who painted pump {n}?", "Ann.") for n in range(40)]
    made = trained_pair.plan("Why?", document_of_town, max_new_tokens=4, turns=turns)
    assert len(ranked) < 60
    assert any("of 40 turns" in note for note in made.notices)


@pytest.mark.parametrize("turns", [[("q",)], [("q", None)], ["ab"], [("q", "\ud800")], [1]])
def test_turns_of_another_form_are_refused_in_one_line(trained_pair, turns):
    with pytest.raises(UserError, match="turns") as raised:
        trained_pair.plan("Why?", [], max_new_tokens=4, turns=turns)
    assert "\n" not in str(raised.value)


def test_the_parts_of_a_message_are_one_text(trained_pair):
    parts = [{"type": "text", "text": "Who?"}, {"type": "text", "text": "And when?"}]
    answers = [
        trained_pair.chat([{"role": "user", "content": content}], max_new_tokens=4)
        for content in (parts, "Who?\nAnd when?")
    ]
    assert answers[0].plan.ids == answers[1].plan.ids
    with pytest.raises(UserError, match="parts of text alone"):
        trained_pair.chat([{"role": "user", "content": [{"type": "image_url"}]}])


def test_what_was_said_of_the_first_question_is_not_said_of_the_second(trained_pair):
    document = trained_pair.compress(TEXT * 6, "town")
    turns = [("Summarise the text.", "A town.")]
    asked = {"budget": 200, "max_new_tokens": 4}
    assert trained_pair.plan(turns[0][0], document, **asked).notices
    assert not trained_pair.plan("Who?", document, turns=turns, **asked).notices
