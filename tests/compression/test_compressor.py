"""Compressing: what is stored equals what is fresh, growth equals the whole, and the batch decides
nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from e2llm.chunking.chunker import Chunker
from e2llm.compression.block import BLOCK_CHARS, block_bounds
from e2llm.documents.compressed import CompressedDocument
from e2llm.documents.source import Source, group_sources
from e2llm.errors import ReadError, StaleDocumentError, UserError
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


@pytest.mark.slow
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


@few
@given(st.lists(st.integers(1, 700), min_size=1, max_size=12), st.sampled_from([1, 6.5, "chunk"]))
def test_texts_that_are_compressed_together_are_as_if_each_were_alone(pair, sizes, ratio):
    sources = [Source(f"n{place}", TEXT[place : place + size]) for place, size in enumerate(sizes)]
    sources = [source for source in sources if source.text.strip()]
    together = list(pair.compressor.compress_many(sources, ratio, pair.chunker))
    assert [document.name for document in together] == [source.name for source in sources]
    for document, source in zip(together, sources, strict=True):
        assert_same(document, pair.compress(source.text, ratio=ratio))


def test_texts_are_read_together_up_to_a_block_and_late_chunking_reads_each_alone(pair):
    texts = ["Ann paid.", "Bo did not. " * 8_000, "The bridge fell.", "It was new."]
    sources = [Source(f"n{place}", text) for place, text in enumerate(texts)]
    groups = [[source.name for source in group] for group in group_sources(sources, BLOCK_CHARS)]
    assert groups == [["n0"], ["n1"], ["n2", "n3"]]
    together = pair.compressor.compress_many(sources[2:], 4, pair.chunker, window=3)
    for document, text in zip(together, texts[2:], strict=True):
        assert_same(document, pair.compress(text, ratio=4, window=3))


def test_a_blank_text_among_many_names_itself(pair):
    sources = [Source("good", "Ann paid."), Source("bad", " ")]
    with pytest.raises(ReadError, match="'bad'"):
        list(pair.compressor.compress_many(sources, 4, pair.chunker))


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


def test_progress_comes_early_and_ends_at_the_end(pair):
    seen = []
    pair.compress(TEXT * 8, progress=seen.append)
    assert seen[0].done_chars <= 8192 + 120
    assert seen[-1].done_chars == seen[-1].total_chars == len(TEXT * 8)
    assert seen[-1].left_s == 0
    assert [progress.done_chars for progress in seen] == sorted(
        progress.done_chars for progress in seen
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
