"""Alignment: which decoder tokens a soft token should stand for, and how far it is from them."""

import torch

from e2llm.chunking.chunker import make_spans
from e2llm.model.processing import E2LLMProcessor
from e2llm.training.data.records import TextRecord
from e2llm.training.tasks.alignment import bag_means, stack_targets
from tests.training.tasks.samples import fed, make


def test_every_token_is_aligned_with_the_decoder_tokens_that_overlap_it_in_the_text(pair):
    record = TextRecord("t", "Ann's  budget was approved\nin 1887; the café's, too. " * 3, "town")
    processor: E2LLMProcessor = pair.processor
    for seed in range(5):
        sample = make("alignment", record, pair, seed, ratio=1, n_chunks=3)
        spans = make_spans(record.text, pair.chunker)
        places = [tuple(row.input_ids) for row in sample.rows]
        chunks = [
            record.text[start:end]
            for start, end in spans
            if tuple(processor.encoder_rows(record.text, [(start, end)])[0].input_ids) in places
        ]
        expected = []
        for chunk in chunks:
            decoded = processor.tokenizer(
                chunk, return_offsets_mapping=True, add_special_tokens=False
            )
            encoded = processor.encoder_tokenizer(
                chunk, return_offsets_mapping=True, add_special_tokens=False
            )
            for start, end in encoded["offset_mapping"]:
                pairs = zip(decoded["input_ids"], decoded["offset_mapping"], strict=True)
                expected.append([i for i, (a, b) in pairs if a < end and start < b])
        assert sample.targets == expected
        assert fed(sample) == list(range(len(sample.targets)))


def test_alignment_measures_the_distance_to_the_mean_of_the_embeddings(pair):
    table = torch.arange(12.0).reshape(6, 2)
    targets = stack_targets([[1], [0, 2, 4], [5, 5]])
    assert targets.tolist() == [[1, -1, -1], [0, 2, 4], [5, 5, -1]]
    torch.testing.assert_close(
        bag_means(table, targets), torch.stack([table[1], table[[0, 2, 4]].mean(0), table[5]])
    )
