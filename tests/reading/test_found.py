"""Whether the documents say what is asked: refused, told, or left alone."""

import pytest
import torch

from e2llm import E2LLM
from e2llm.reading.found import REFUSED, Finder, asks_about_whole, digest_encoder, names_of
from tests.reading.conftest import FACTS
from tests.tiny import TEXT

QUESTION = "Who approved the budget?"


@pytest.fixture(scope="module")
def document(pair):
    """A text that the tiny encoder can read."""
    return pair.compress(TEXT, name="town")


@pytest.fixture
def weighed(make_pair):
    """Make a pair whose weights come to a given score, whatever is asked."""

    def make(bias: float, **options) -> E2LLM:
        pair = make_pair(**options)
        digest = digest_encoder(pair.compressor)
        pair.config.found = {"closeness": 0, "names": 0, "bias": bias, "encoder": digest}
        return pair

    return make


def test_a_pair_without_weights_never_refuses(pair, document):
    answer = pair.ask(QUESTION, document, max_new_tokens=2)
    assert answer.found is None
    assert answer.usage.positions


def test_what_is_not_there_gets_one_sentence_and_what_comes_nearest(weighed):
    pair = weighed(-1)
    town, other = pair.compress(TEXT, "town"), pair.compress(TEXT * 2, "other")
    answer = pair.ask(QUESTION, town, max_new_tokens=4)
    assert (answer.text, answer.found) == ("The document does not say.", False)
    assert any("budget" in chunk.text for chunk in answer.expanded)
    assert answer.finish_reason == "stop"
    assert answer.notices[-1] == REFUSED
    assert (answer.usage.positions, answer.usage.n_answer_tokens) == (0, 0)
    assert list(pair.stream(QUESTION, [town, other])) == ["The documents do not say."]


def test_what_is_there_is_answered(weighed, pair, document):
    expected = pair.ask(QUESTION, document, max_new_tokens=4)
    answer = weighed(1).ask(QUESTION, document, max_new_tokens=4)
    assert (answer.text, answer.found) == (expected.text, True)


def test_a_caller_can_have_the_answer_all_the_same(weighed, pair, document):
    expected = pair.ask(QUESTION, document, max_new_tokens=4)
    answer = weighed(-1).ask(QUESTION, document, max_new_tokens=4, refuse=False)
    assert (answer.text, answer.found) == (expected.text, False)


@pytest.mark.parametrize(
    "asked",
    [
        {"question": "Summarise the text."},
        {"question": "What is it about?"},
        {"question": QUESTION, "whole": True},
        {"question": QUESTION, "expand": 0},
        {"question": QUESTION, "turns": [("Where is the museum?", "In the town.")]},
    ],
)
def test_what_no_passage_could_answer_is_never_refused(weighed, asked):
    pair = weighed(-1, trained=True)
    question, document = asked.pop("question"), pair.compress(TEXT)
    assert pair.ask(question, document, max_new_tokens=2, **asked).found is None


def test_what_the_encoder_cannot_read_is_never_refused(weighed):
    pair = weighed(-1)
    assert pair.ask("谁批准了预算？", pair.compress(TEXT), max_new_tokens=2).found is None
    foreign = pair.compress("市议会在中午开会。" * 3 + "budget")
    assert pair.ask(QUESTION, foreign, max_new_tokens=2).found is None


def test_a_question_without_documents_is_never_refused(weighed):
    assert weighed(-1).ask(QUESTION, max_new_tokens=2).found is None


def test_weights_hold_for_no_other_encoder(weighed):
    pair = weighed(-1)
    with torch.no_grad():
        next(pair.model.encoder.parameters()).add_(0.1)
    assert pair.ask(QUESTION, pair.compress(TEXT), max_new_tokens=2).found is None


def test_weights_are_saved_with_the_pair(weighed, tmp_path):
    pair = weighed(-1)
    pair.save(tmp_path)
    loaded = E2LLM.from_pretrained(tmp_path, dtype="float32", device="cpu")
    assert loaded.ask(QUESTION, loaded.compress(TEXT)).found is False


def test_a_passage_of_the_questions_own_words_is_as_close_as_can_be(pair):
    document = pair.compress(FACTS[1], chunker=lambda text: [(0, len(text))])
    ranked = pair.rank("?", [document])
    finder = Finder(pair.compressor)
    assert finder.evidence(FACTS[1], [document], ranked).closeness == pytest.approx(1, abs=1e-5)
    other = finder.evidence(FACTS[3], [document], ranked).closeness
    assert -1 <= other < 1


def test_names_and_numbers_count_where_they_stand_in_any_document(pair):
    documents = [pair.compress("The mayor is Ada."), pair.compress("It was built in 1887.", "Ely")]
    ranked = pair.rank("?", documents)
    for question, names in {
        "Did Ada come in 1887?": 1.0,
        "Did Ada meet Brunhild?": 0.5,
        "Was Ely built in 1887?": 1.0,
        "who came?": 1.0,
    }.items():
        assert Finder(pair.compressor).evidence(question, documents, ranked).names == names


def test_a_questions_first_word_is_no_name():
    assert names_of("Who gave Greta Lund 20 crowns?") == ["greta", "lund", "20"]


@pytest.mark.parametrize(
    ("question", "whole"),
    [
        ("Summarize the whole meeting", True),
        ("What are the main decisions?", True),
        ("What is this document about?", True),
        ("What?", True),
        ("Who paid for the bridge?", False),
        ("When was the mayor born?", False),
        ("Who signed the letter?", False),
        ("When was the report approved?", False),
        ("Which main valve fails?", False),
        ("List the members.", True),
    ],
)
def test_questions_about_the_whole_are_known_by_their_words(question, whole):
    assert asks_about_whole(question) is whole


def test_a_refused_stream_that_is_closed_early_has_its_answer(weighed):
    pair = weighed(-1)
    stream = pair.stream(QUESTION, pair.compress(TEXT), max_new_tokens=4)
    next(stream)
    stream.close()
    assert (stream.finish_reason, stream.answer.found) == ("stop", False)
