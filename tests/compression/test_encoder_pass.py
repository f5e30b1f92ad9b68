"""The encoder's pass: batches, sentence embeddings, and modules that train."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from e2llm.compression.compressor import Compressor
from e2llm.compression.encoder_pass import length_batches
from e2llm.documents.compressed import CompressedDocument
from e2llm.documents.source import Source
from tests import tiny

TEXT = tiny.TEXT * 12


def assert_same(one: CompressedDocument, other: CompressedDocument) -> None:
    """Compare everything but the last bits that the shape of a batch decides."""
    assert (one.text, one.n_soft, one.ratio, one.window, one.key) == (
        other.text,
        other.n_soft,
        other.ratio,
        other.window,
        other.key,
    )
    for name in ("spans", "n_soft_per_chunk", "n_tokens_per_chunk"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
    torch.testing.assert_close(one.soft_tokens, other.soft_tokens, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(one.embeddings, other.embeddings, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("budget", [1, 200, 100_000])
def test_the_size_of_a_batch_changes_nothing(pair, budget):
    small = Compressor(pair.model, pair.processor, pair.fingerprint, batch_tokens=budget)
    assert_same(small.compress(Source("document", TEXT), 4, pair.chunker), pair.compress(TEXT))


@pytest.mark.parametrize("pooling", ["cls", "max", "lasttoken", "mean"])
@pytest.mark.parametrize("window", [1, 2])
def test_every_sentence_embedding_is_the_one_of_the_chunk(make_pair, pooling, window):
    pair = make_pair(embedding_pooling=pooling)
    document = pair.compress(TEXT[:1000], window=window)
    if pooling == "mean" and window > 1:
        # late chunking's own embedding: the mean over a chunk's tokens among their neighbours
        return
    for chunk, embedding in zip(document.chunks, document.embeddings, strict=True):
        ids = torch.tensor([pair.processor.encoder_tokenizer(chunk.text)["input_ids"]])
        states = pair.model.encode(ids, torch.ones_like(ids))[0]
        expected = {
            "cls": states[0],
            "max": states.amax(0),
            "lasttoken": states[-1],
            "mean": states.mean(0),
        }[pooling]
        torch.testing.assert_close(embedding, expected / expected.norm(), atol=1e-4, rtol=1e-3)


@given(st.lists(st.integers(1, 300), max_size=80), st.integers(1, 1000))
def test_batches_hold_every_row_once_within_the_budget(lengths, budget):
    batches = list(length_batches(lengths, budget))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert all(
        len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget
        for batch in batches
    )


def test_a_model_in_training_mode_compresses_without_dropout_and_stays_in_it(make_pair):
    pair = make_pair()
    expected = pair.compress(TEXT)
    pair.model.train()
    assert_same(pair.compress(TEXT), expected)
    assert pair.model.training
    assert pair.model.encoder.training


def test_modules_that_were_in_training_mode_and_those_that_were_not_stay_so(make_pair):
    pair = make_pair()
    pair.model.train()
    pair.model.encoder.eval()
    before = {name: module.training for name, module in pair.model.named_modules()}
    pair.compress(TEXT)
    pair.ask("Who?", pair.compress(TEXT), max_new_tokens=2)
    assert {name: module.training for name, module in pair.model.named_modules()} == before
