"""What all tasks keep: soft tokens, ends of answers, bounds; `tasks` tests each alone."""

import pytest

from e2llm.chunking.chunker import make_spans
from e2llm.training.data.records import QuestionRecord, TextRecord
from e2llm.training.tasks import TASKS
from tests.training.tasks.samples import QUESTION, TEXT, OneOther, fed, make, n_soft, record_of
from tests.training.writing import prose


@pytest.mark.parametrize("name", [name for name in TASKS if name != "alignment"])
@pytest.mark.parametrize("decoder", ["llama", "plain"])
def test_every_soft_token_has_one_placeholder_and_is_fed_by_the_encoder(make_pair, name, decoder):
    pair, record = make_pair(decoder=decoder, chunk_chars=300), record_of(name)
    for seed in range(10):
        sample = make(name, record, pair, seed, OneOther(), ratio=[1, 4, 8, "chunk"][seed % 4])
        if sample is None:  # another record is drawn in its place
            continue
        assert fed(sample) == list(range(n_soft(pair, sample)))
        assert pair.processor.placeholder_id not in sample.answer_ids
        assert sample.answer_ids
        later = [token for prompt, answer in sample.turns for token in prompt + answer]
        assert sample.n_positions == len(sample.prompt_ids) + len(sample.answer_ids) + len(later)
        assert pair.processor.placeholder_id not in later
        assert sample.name == f"{record.source}/{record.id}"


@pytest.mark.parametrize("name", [name for name in TASKS if name != "alignment"])
def test_the_same_draw_gives_the_same_sample(make_pair, name):
    pair = make_pair(chunk_chars=300)
    first, second = (make(name, record_of(name), pair, 5, OneOther()) for _ in range(2))
    assert (first.prompt_ids, first.answer_ids) == (second.prompt_ids, second.answer_ids)


# Recall's answers are short, and those of passages one sentence or two.
@pytest.mark.parametrize(
    "name",
    [n for n in TASKS if n not in ("alignment", "recall", "passages", "definitions")],
)
def test_an_answer_that_is_too_long_is_cut_and_has_no_end(pair, name):
    record = (
        TEXT
        if TASKS[name].kind == "text"
        else QuestionRecord("q", QUESTION.context, "What?", (prose(4, 20),), "hall")
    )
    whole, cut = (
        make(name, record, pair, 3, max_answer_tokens=most).answer_ids for most in (4000, 7)
    )
    assert cut == whole[:7]
    assert pair.processor.tokenizer.eos_token_id not in cut


@pytest.mark.parametrize("name", ["understanding", "reasoning", "expanding"])
def test_an_answer_that_is_whole_ends_with_the_end_id(pair, name):
    sample = make(name, TEXT if name == "understanding" else QUESTION, pair, max_answer_tokens=4000)
    assert sample.answer_ids[-1] == pair.processor.tokenizer.eos_token_id
    assert sample.answer_ids.count(pair.processor.tokenizer.eos_token_id) == 1


@pytest.mark.parametrize("name", ["understanding", "reasoning", "continuation"])
@pytest.mark.parametrize("most", [140, 100])
def test_a_document_that_needs_more_than_the_prompt_holds_is_compressed_further(pair, name, most):
    record = (
        TextRecord("t", prose(1, 60), "town")
        if name != "reasoning"
        else QuestionRecord("q", prose(1, 60), "Who?", ("nobody of these",), "hall")
    )
    for seed in range(6):
        sample = make(
            name,
            record,
            pair,
            seed,
            OneOther(),
            ratio=1,
            n_chunks=6 if name == "continuation" else 40,
            max_positions=most,
        )
        shortest = (
            len(sample.prompt_ids) - n_soft(pair, sample) + 6 if name == "continuation" else 0
        )  # the text before is not cut
        assert len(sample.prompt_ids) <= max(most, shortest)


def test_of_a_document_with_more_chunks_than_the_prompt_holds_the_first_are_read(pair):
    record = QuestionRecord("q", prose(1, 400), "Who?", ("nobody of these",), "hall")
    assert len(make_spans(record.context, pair.chunker)) > 120
    sample = make("reasoning", record, pair, n_chunks=2, max_positions=120)
    assert len(sample.prompt_ids) <= 120
    assert fed(sample) == list(range(n_soft(pair, sample)))
