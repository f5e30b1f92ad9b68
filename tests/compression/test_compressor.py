"""Compressing: what is stored equals what is fresh, growth equals the whole, and the batch decides
nothing.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from e2llm.chunking.chunker import Chunker
from e2llm.compression.compressor import Compressor, block_bounds
from e2llm.compression.encoder_pass import length_batches
from e2llm.documents.compressed import CompressedDocument
from e2llm.errors import StaleDocumentError, UserError
from e2llm.pair import E2LLM
from tests import tiny

TEXT = tiny.TEXT * 12
few = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


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


@pytest.mark.parametrize("window", [1, 3])
@pytest.mark.parametrize("ratio", [1, 4, 10.5, "chunk"])
def test_a_document_is_what_the_model_makes_of_its_chunks(pair, ratio, window):
    document = pair.compress(TEXT, ratio=ratio, window=window)
    pair.processor.window_chunks = window
    try:
        inputs = pair.processor("?", [[TEXT]], ratio=ratio)
    finally:
        pair.processor.window_chunks = 1
    soft_tokens, mask = pair.model.compress(
        inputs["chunk_input_ids"], inputs["chunk_attention_mask"], inputs["chunk_soft_ids"]
    )
    torch.testing.assert_close(document.soft_tokens, soft_tokens[mask], atol=1e-5, rtol=1e-4)
    assert document.n_soft == document.n_soft_per_chunk.sum() == len(document.soft_tokens)
    assert "".join(chunk.text for chunk in document.chunks) == TEXT


def test_a_stored_document_equals_a_fresh_one(pair, tmp_path):
    document = pair.compress(TEXT, name="report")
    document.save(tmp_path / "report.e2llm")
    stored = CompressedDocument.load(tmp_path / "report.e2llm")
    assert torch.equal(stored.soft_tokens, document.soft_tokens)
    assert torch.equal(stored.embeddings, document.embeddings)
    assert (stored.name, stored.key, stored.chunks) == (
        document.name,
        document.key,
        document.chunks,
    )


def test_compressing_twice_gives_the_same_bytes(pair, tmp_path):
    for name in ("one", "two"):
        pair.compress(TEXT).save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("budget", [1, 200, 100_000])
def test_the_size_of_a_batch_changes_nothing(pair, budget):
    small = Compressor(pair.model, pair.processor, pair.fingerprint, batch_tokens=budget)
    assert_same(small.compress(TEXT, "document", 4, pair.chunker), pair.compress(TEXT))


@few
@given(
    st.integers(1, len(TEXT) - 1), st.sampled_from([1, 2, 3]), st.sampled_from([3, 7.5, "chunk"])
)
def test_a_document_that_has_grown_equals_the_whole(pair, cut, window, ratio):
    whole = pair.compress(TEXT, ratio=ratio, window=window)
    assert_same(
        pair.append(pair.compress(TEXT[:cut], ratio=ratio, window=window), TEXT[cut:]), whole
    )


def test_appending_encodes_the_new_tail_alone(pair):
    document = pair.compress(TEXT)
    read = []
    pair.compress(
        TEXT + "One more sentence.",
        previous=document,
        progress=lambda progress: read.append(progress.done_chars),
    )
    seen = []
    own = pair.processor.encoder_rows
    pair.processor.encoder_rows = lambda text, spans, *rest: (
        seen.extend(spans) or own(text, spans, *rest)
    )
    try:
        pair.append(document, "One more sentence.")
    finally:
        del pair.processor.encoder_rows
    assert len(seen) <= 2
    assert min(start for start, _ in seen) >= document.spans[-1, 0]
    assert read == [len(TEXT) + 18]


def test_text_that_arrives_piece_by_piece_ends_as_the_whole(pair):
    pieces = [TEXT[start : start + 237] for start in range(0, len(TEXT), 237)]
    document = pair.compress(pieces[0])
    for piece in pieces[1:]:
        document = pair.append(document, piece)
    assert_same(document, pair.compress(TEXT))


def test_appending_to_another_models_document_is_refused(pair, make_pair):
    with pytest.raises(StaleDocumentError):
        make_pair(seed=5).append(pair.compress(TEXT), "more")


def test_a_document_cut_by_a_callable_needs_it_again_to_grow(pair):
    def lines(text):
        ends = [place + 1 for place, char in enumerate(text) if char == "\n"]
        return list(zip([0, *ends], [*ends, len(text)], strict=True))[
            : len(ends) + (not text.endswith("\n"))
        ]

    document = pair.compress(TEXT, chunker=lines)
    with pytest.raises(UserError, match="`chunker` must be given"):
        pair.append(document, "more\n")
    assert_same(
        pair.append(document, "more\n", chunker=lines),
        pair.compress(TEXT + "more\n", chunker=lines),
    )


def test_late_chunking_lets_a_chunk_see_its_neighbours(pair):
    other = TEXT[:120].replace("council", "library") + TEXT[120:]
    last = slice(-pair.compress(TEXT[:240], window=2).n_soft_per_chunk[-1], None)
    for window, same in ((1, True), (9, False)):
        one, two = (pair.compress(text[:240], window=window) for text in (TEXT, other))
        assert torch.equal(one.soft_tokens[last], two.soft_tokens[last]) is same


def test_late_chunking_refuses_chunks_that_overlap(pair):
    with pytest.raises(UserError, match="needs chunks that do not overlap"):
        pair.compress(TEXT, chunker=Chunker(100, 20), window=2)


@pytest.mark.parametrize("overlap", [0, 20, 49])
def test_overlapping_chunks_are_compressed_each_whole(pair, overlap):
    document = pair.compress(TEXT, chunker=Chunker(100, overlap), ratio="chunk")
    assert document.n_soft == document.n_chunks
    assert all(chunk.text == TEXT[chunk.start : chunk.end] for chunk in document.chunks)


@pytest.mark.parametrize(
    "text",
    [
        "会议在中午举行。" * 100,
        "👩‍👩‍👧‍👦👍🏽🇫🇷" * 100,
        "e\u0301\u0323" * 300,
        "x" * 3000,
        "\x00\x01 a",
        "a" + "\n" * 900 + "b",
    ],
)
def test_any_script_is_compressed_and_nothing_is_lost(pair, text):
    document = pair.compress(text)
    assert "".join(chunk.text for chunk in document.chunks) == text
    assert document.soft_tokens.isfinite().all()
    assert document.embeddings.isfinite().all()


@pytest.mark.parametrize("text", ["", " \n\t ", "\u200b\u200b", "half \ud800 a character"])
def test_text_without_anything_to_read_is_refused_by_name(pair, text):
    with pytest.raises(UserError, match="'report'"):
        pair.compress(text, name="report")


@pytest.mark.parametrize("ratio", [0, 0.5, -4, "many", float("nan"), float("inf")])
def test_an_impossible_ratio_names_itself(pair, ratio):
    with pytest.raises(UserError, match="`ratio`"):
        pair.compress(TEXT, ratio=ratio)


def test_a_ratio_that_cannot_be_reached_says_why(pair):
    high, low = pair.compress(TEXT, ratio=500), pair.compress(TEXT, ratio=1)
    assert high.n_soft == high.n_chunks
    assert "at least one soft token" in high.ratio_note
    assert low.ratio_note is None or "at most one" in low.ratio_note
    assert pair.compress(TEXT, ratio=8).ratio_note is None


@pytest.mark.parametrize("encoder", tiny.ENCODERS)
@pytest.mark.parametrize("window", [1, 3])
def test_every_encoder_family_compresses_and_grows(make_pair, encoder, window):
    pair = make_pair(encoder)
    assert_same(
        pair.append(pair.compress(TEXT[:700], window=window), TEXT[700:1500]),
        pair.compress(TEXT[:1500], window=window),
    )


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


def test_progress_comes_early_and_ends_at_the_end(pair):
    seen = []
    pair.compress(TEXT * 8, progress=seen.append)
    assert seen[0].done_chars <= 8192 + 120
    assert seen[-1].done_chars == seen[-1].total_chars == len(TEXT * 8)
    assert seen[-1].left_s == 0
    assert [progress.done_chars for progress in seen] == sorted(
        progress.done_chars for progress in seen
    )


@given(st.lists(st.integers(1, 300), max_size=80), st.integers(1, 1000))
def test_batches_hold_every_row_once_within_the_budget(lengths, budget):
    batches = list(length_batches(lengths, budget))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert all(
        len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget
        for batch in batches
    )


@given(st.integers(1, 500), st.integers(1, 40), st.integers(1, 5))
def test_blocks_hold_every_chunk_once_in_whole_windows_of_bounded_size(n_chunks, size, window):
    spans = [(index * size * 100, (index + 1) * size * 100) for index in range(n_chunks)]
    blocks = list(block_bounds(spans, 0, window))
    assert [blocks[0][0], *(last for _, last in blocks)] == [
        0,
        *(first for first, _ in blocks[1:]),
        n_chunks,
    ]
    assert all((last - first) % window == 0 for first, last in blocks[:-1])
    assert all(
        spans[last - 1][1] - spans[first][0] <= 65_536 or last - first <= window
        for first, last in blocks
    )


def test_a_fingerprint_is_the_same_in_any_precision_and_another_for_other_weights(
    pair, make_pair, tmp_path
):
    pair.save(tmp_path)
    for dtype in ("float32", "bfloat16"):
        assert (
            E2LLM.from_pretrained(tmp_path, dtype=dtype, device="cpu").fingerprint
            == pair.fingerprint
        )
    changed = make_pair()
    with torch.no_grad():
        changed.model.decoder.get_input_embeddings().weight.mul_(1.05)
    others = [
        changed,
        make_pair(adapter="linear"),
        make_pair(document_prompt="passage: "),
        make_pair("roberta"),
        make_pair(decoder="gpt2"),
    ]
    assert len({pair.fingerprint, *(other.fingerprint for other in others)}) == 1 + len(others)


def test_a_stale_document_is_never_answered_from(pair):
    document = replace(pair.compress(TEXT), fingerprint="0" * 64)
    with pytest.raises(StaleDocumentError, match="compressed by another model"):
        pair.ask("Who?", [document])


def test_a_model_in_training_mode_compresses_without_dropout_and_stays_in_it(make_pair):
    pair = make_pair()
    expected = pair.compress(TEXT)
    pair.model.train()
    assert_same(pair.compress(TEXT), expected)
    assert pair.model.training
    assert pair.model.encoder.training


def test_a_document_made_before_the_weights_changed_is_stale(make_pair):
    pair = make_pair()
    document = pair.compress(TEXT)
    with torch.no_grad():
        pair.model.adapter.up.weight.mul_(1.1)
    assert pair.compress(TEXT).fingerprint != document.fingerprint
    with pytest.raises(StaleDocumentError):
        pair.ask("Who?", [document])


def test_modules_that_were_in_training_mode_and_those_that_were_not_stay_so(make_pair):
    pair = make_pair()
    pair.model.train()
    pair.model.encoder.eval()
    before = {name: module.training for name, module in pair.model.named_modules()}
    pair.compress(TEXT)
    pair.ask("Who?", pair.compress(TEXT), max_new_tokens=2)
    assert {name: module.training for name, module in pair.model.named_modules()} == before


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"text": b"bytes"}, "must be a text"),
        ({"name": None}, "name"),
        ({"name": "x\ud800"}, "name"),
        ({"window": 1.5}, "window"),
        ({"window": 0}, "window"),
        ({"ratio": (1,)}, "ratio"),
        ({"chunker": lambda text: None}, "chunker"),
        ({"chunker": lambda text: ["ab", "c"]}, "chunker"),
        ({"page_starts": (5, 1)}, "page_starts"),
        ({"page_starts": (0, 10**9)}, "page_starts"),
    ],
)
def test_arguments_of_another_kind_name_themselves(pair, arguments, named):
    with pytest.raises(UserError, match=named):
        pair.compress(**{"text": TEXT, **arguments})


@pytest.mark.parametrize(
    "change",
    [
        {"spans": np.array([[0, 10**6]])},
        {"spans": np.array([[5, 5]])},
        {"embeddings": torch.zeros(0, 32)},
        {"n_soft_per_chunk": np.array([1])},
        {"soft_tokens": torch.full((3, 32), float("nan"))},
    ],
)
def test_a_document_whose_parts_do_not_fit_each_other_is_damaged(pair, tmp_path, change):
    document = pair.compress("The council met.", ratio=1)
    with pytest.raises(ValueError, match="do not fit each other"):
        replace(document, **change)
