"""Continuation: text, soft tokens, and the text that follows."""

import pytest

from e2llm.training.data.records import TextRecord
from tests.training.tasks.samples import TEXT, make, text_of


@pytest.mark.parametrize("decoder", ["llama", "plain"])
def test_what_is_to_be_continued_follows_what_is_compressed(trained_pair, plain, decoder):
    pair = plain if decoder == "plain" else trained_pair
    places = set()
    for seed in range(30):
        sample = make(
            "continuation-distillation",
            TEXT,
            pair,
            seed,
            ratio=1,
            n_chunks=4,
            max_answer_tokens=4000,
        )
        untaught = make(
            "continuation", TEXT, pair, seed, ratio=1, n_chunks=4, max_answer_tokens=4000
        )
        assert (untaught.prompt_ids, untaught.answer_ids, untaught.teacher_ids) == (
            sample.prompt_ids,
            sample.answer_ids,
            None,
        )
        after = text_of(pair, sample.answer_ids)
        before = text_of(pair, sample.prompt_ids).removeprefix("<bos>")
        read = text_of(pair, sample.teacher_ids).removeprefix("<bos>")
        assert read.startswith(before)
        assert read + after in TEXT.text
        compressed = "".join(
            pair.processor.encoder_tokenizer.decode(row.input_ids, skip_special_tokens=True)
            for row in sample.rows
        )
        letters = [c for c in read[len(before) :].lower() if c.isalpha()]
        assert [c for c in compressed if c.isalpha()] == letters
        places.add(bool(before))
    assert places == {True, False}


def test_a_text_of_one_chunk_gives_no_continuation(pair):
    assert make("continuation", TextRecord("t", "One chunk.", "town"), pair) is None
