"""Understanding: what is to be restated, and how it is asked for."""

from e2llm.chunking.chunker import make_spans
from e2llm.training.data.records import TextRecord
from e2llm.training.tasks.conversation import NAMES
from e2llm.training.tasks.understanding import wordings
from tests.training.tasks.samples import QUESTION, TEXT, make, text_of


def test_the_bank_has_at_least_fifty_wordings_all_different():
    assert len(set(wordings())) == len(wordings()) >= 50
    assert all(wording == wording.strip() != "" for wording in wordings())


def test_what_is_to_be_restated_is_the_text_of_the_window(pair):
    for seed in range(30):
        wanted = 1 + seed % 3
        sample = make("understanding", TEXT, pair, seed, n_chunks=wanted, max_answer_tokens=4000)
        restated = text_of(pair, sample.answer_ids[:-1])
        assert restated in TEXT.text
        spans = make_spans(TEXT.text, pair.chunker)
        windows = {
            n: [
                TEXT.text[spans[i][0] : spans[i + n - 1][1]].strip()
                for i in range(len(spans) - n + 1)
            ]
            for n in (1, 2, 3)
        }
        assert [n for n, own in windows.items() if restated in own] == [wanted]
        assert any(wording in text_of(pair, sample.prompt_ids) for wording in wordings())
        assert restated not in text_of(pair, sample.prompt_ids)


def test_half_of_the_restatements_are_requested_in_the_prompt_that_is_asked_with(trained_pair):
    n_chunks = len(make_spans(QUESTION.context, trained_pair.chunker))
    documents = [trained_pair.compress(QUESTION.context, name, 4) for name in NAMES]
    asked = {
        tuple(trained_pair.plan(wording, [document], 0, max_new_tokens=4).prompt.ids)
        for wording in wordings()
        for document in documents
    }
    record = TextRecord("t", QUESTION.context, "town")
    samples = [
        make("understanding", record, trained_pair, seed, n_chunks=n_chunks) for seed in range(40)
    ]
    n_asked = sum(tuple(sample.prompt_ids) in asked for sample in samples)
    assert 10 <= n_asked <= 30
    assert len({tuple(sample.answer_ids) for sample in samples}) == 1


def test_a_blank_window_gives_no_sample(pair):
    assert make("understanding", TextRecord("t", " \n" * 50, "town"), pair) is None
