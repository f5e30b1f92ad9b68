"""Reasoning and expanding: the prompt that is asked with, the answer, the chunks as text."""

import textwrap
from dataclasses import replace

import numpy as np
import pytest
import torch

from e2llm.chunking.chunker import make_spans
from e2llm.compression.compressor import Compressor
from e2llm.reading.ranking import RankedChunk
from e2llm.reading.reader import Reader
from e2llm.training.collator import Collator
from e2llm.training.mixture import Batch
from e2llm.training.tasks import TASKS, Draw
from e2llm.training.tasks.conversation import NAMES
from e2llm.training.tasks.document import holding
from tests.training.tasks.samples import QUESTION, make, text_of


def _spans_and_held(pair, answer):
    spans = make_spans(QUESTION.context, pair.chunker)
    return spans, holding(QUESTION.context, spans, answer)


@pytest.mark.parametrize("ratio", [1, 4, 16, "chunk"])
@pytest.mark.parametrize("decoder", ["llama", "plain"])
def test_the_prompt_of_reasoning_is_the_one_that_is_asked_with(trained_pair, plain, decoder, ratio):
    pair = plain if decoder == "plain" else trained_pair
    n_chunks = len(make_spans(QUESTION.context, pair.chunker))
    asked = [
        pair.plan(
            QUESTION.question, pair.compress(QUESTION.context, name, ratio), 0, max_new_tokens=4
        ).ids
        for name in NAMES
    ]
    found = {
        asked.index(
            make("reasoning", QUESTION, pair, seed, ratio=ratio, n_chunks=n_chunks).prompt_ids
        )
        for seed in range(20)
    }
    assert len(found) > 3


@pytest.mark.parametrize("decoder", ["llama", "plain"])
def test_the_prompt_of_expanding_is_the_one_that_is_asked_with_when_the_same_chunks_are_chosen(
    trained_pair, plain, decoder, monkeypatch
):
    pair = plain if decoder == "plain" else trained_pair
    n_chunks = len(make_spans(QUESTION.context, pair.chunker))
    documents = {name: pair.compress(QUESTION.context, name, 4) for name in NAMES}
    for seed in range(12):
        sample = make("expanding", QUESTION, pair, seed, n_chunks=n_chunks)
        rng = np.random.default_rng(seed)
        answer = QUESTION.answers[rng.integers(len(QUESTION.answers))]
        draw = Draw(pair.processor, rng, 4, n_chunks)
        chosen = TASKS["expanding"].expanded(
            QUESTION.context, *_spans_and_held(pair, answer), QUESTION.question, draw
        )
        ranked = [RankedChunk(0, index, 1.0) for index in chosen]
        monkeypatch.setattr(Reader, "rank", lambda self, question, own, ranked=ranked: ranked)
        asked = [
            pair.plan(QUESTION.question, document, len(chosen), max_new_tokens=4).ids
            for document in documents.values()
        ]
        assert sample.prompt_ids in asked


def test_the_expanded_passages_are_one_to_four_chunks_of_the_document_and_mostly_hold_the_answer(
    pair,
):
    spans, held = _spans_and_held(pair, "Ann")
    numbers, hits = set(), 0
    for seed in range(100):
        chosen = TASKS["expanding"].expanded(
            QUESTION.context,
            spans,
            held,
            QUESTION.question,
            Draw(pair.processor, np.random.default_rng(seed), 4, len(spans)),
        )
        assert len(set(chosen)) == len(chosen)
        assert set(chosen) <= set(range(len(spans)))
        numbers.add(len(chosen))
        hits += held[0] in chosen
    assert numbers == {1, 2, 3, 4}
    assert 60 <= hits < 90


def test_the_answer_is_one_of_the_records_answers(pair, plain):
    answers = {
        text_of(pair, make("reasoning", QUESTION, pair, seed).answer_ids[:-1]) for seed in range(20)
    }
    assert answers == set(QUESTION.answers)
    answers = {
        text_of(plain, make("reasoning", QUESTION, plain, seed).answer_ids[:-1])
        for seed in range(20)
    }
    assert answers == {f" {answer}" for answer in QUESTION.answers}


def test_soft_tokens_of_a_sample_are_those_that_a_compressed_document_holds(trained_pair):
    n_chunks = len(make_spans(QUESTION.context, trained_pair.chunker))
    sample = make("reasoning", QUESTION, trained_pair, n_chunks=n_chunks)
    inputs = Collator(trained_pair.processor)([Batch("reasoning", 4, [sample])])
    with torch.no_grad():
        soft, _ = trained_pair.model.compress(
            **{
                name: inputs[name]
                for name in ("chunk_input_ids", "chunk_attention_mask", "chunk_soft_ids")
            }
        )
    assert isinstance(trained_pair.compressor, Compressor)
    torch.testing.assert_close(
        soft[0],
        trained_pair.compress(QUESTION.context, ratio=4).soft_tokens.float(),
        atol=1e-3,
        rtol=1e-2,
    )


def test_half_of_the_samples_show_text_as_it_was_wrapped_and_half_as_it_reads(trained_pair):
    wrapped = textwrap.fill(QUESTION.context, 60)
    record = replace(QUESTION, context=wrapped)
    samples = [make("expanding", record, trained_pair, seed, n_chunks=2) for seed in range(60)]
    shown = [text_of(trained_pair, sample.prompt_ids).split("):\n")[1] for sample in samples]
    # A passage ends before a blank line, whatever its form.
    joined = sum("\n" not in text.split("\n\n")[0].strip() for text in shown)
    assert 15 <= joined <= 45
    again = [make("expanding", record, trained_pair, seed, n_chunks=2) for seed in range(60)]
    assert [sample.prompt_ids for sample in samples] == [sample.prompt_ids for sample in again]
