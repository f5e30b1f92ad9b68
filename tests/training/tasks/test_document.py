"""The document of a question: which part of a long one, and what stands beside a short one."""

import numpy as np

from e2llm.chunking.chunker import make_spans
from e2llm.training.data.records import QuestionRecord
from e2llm.training.tasks import Draw
from e2llm.training.tasks.document import draw_document
from tests.training.tasks.samples import NoOthers, OneOther, make
from tests.training.writing import prose


def test_a_short_answer_in_other_words_is_asked_of_the_part_of_a_long_document_that_speaks_of_it(
    pair,
):
    text = f"{prose(4, 30)} Cleo painted the lighthouse green. {prose(5, 30)}"
    record = QuestionRecord(
        "q", text, "Which colour did Cleo give the lighthouse?", ("The one of grass",), "hall"
    )
    for seed in range(8):
        sample = make("reasoning", record, pair, seed, n_chunks=4)
        assert len(sample.rows) <= 5  # a cut moves the chunks
        assert any(
            "lighthouse" in pair.processor.encoder_tokenizer.decode(row.input_ids)
            for row in sample.rows
        )


def test_of_a_document_that_holds_a_long_answer_the_part_that_begins_with_it_is_read(pair):
    answer = prose(7, 12)
    assert len(answer) > 200
    record = QuestionRecord(
        "q", f"{prose(5, 40)} {answer} {prose(6, 40)}", "What then?", (answer,), "hall"
    )
    for seed in range(10):
        draw = Draw(pair.processor, np.random.default_rng(seed), 4, 3)
        text, spans, held = draw_document(record, answer, draw, NoOthers())
        assert len(spans) <= 4
        assert held == [0] or (held == [] and answer.startswith(text[:40]))
        assert text.find(answer[:60]) < len(text) / 2


def test_a_summary_is_asked_of_the_whole_document(pair):
    record = QuestionRecord(
        "q", prose(4, 30), "What is it about?", ("It tells of a town and its budget. " * 8,), "hall"
    )
    assert len(make("reasoning", record, pair, n_chunks=2).rows) == len(
        make_spans(record.context, pair.chunker)
    )


def test_a_long_context_is_cut_around_the_answer(pair):
    record = QuestionRecord(
        "q", f"{prose(5, 60)} Xavier keeps it. {prose(6, 60)}", "Who keeps it?", ("Xavier",), "hall"
    )
    tokenizer = pair.processor.encoder_tokenizer
    for seed in range(10):
        sample = make("reasoning", record, pair, seed, n_chunks=2)
        assert len(sample.rows) <= 3
        assert "xavier" in " ".join(tokenizer.decode(row.input_ids) for row in sample.rows)


def test_a_short_context_stands_among_others(pair):
    record = QuestionRecord("q", "Ann keeps it.", "Who keeps it?", ("Ann",), "hall")
    sizes = {
        n: [
            len(make("reasoning", record, pair, seed, OneOther(), n_chunks=n).rows)
            for seed in range(20)
        ]
        for n in (1, 5)
    }
    assert set(sizes[1]) == {1}
    assert min(sizes[5]) >= 5


def test_another_context_that_holds_the_answer_is_not_put_beside(pair):
    class Same(OneOther):
        def next(self):
            return QuestionRecord("o", "Ann was there too.", "?", ("!",), "hall")

    record = QuestionRecord("q", "Ann keeps it.", "Who keeps it?", ("Ann",), "hall")
    assert {
        len(make("reasoning", record, pair, seed, Same(), n_chunks=5).rows) for seed in range(10)
    } == {1}
