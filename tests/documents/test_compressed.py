"""The compressed document: its chunks, pages, ratio and key."""

import dataclasses

import pytest

from e2llm.checks import check_ratio
from e2llm.documents.compressed import document_key, pages_between
from e2llm.errors import StaleDocumentError, UserError
from tests.documents.samples import TEXT, make_document


def test_chunks_are_the_text_between_their_spans():
    document = make_document(page_starts=(0, 60))
    assert document.n_chunks > 3
    for index, (chunk, (start, end)) in enumerate(
        zip(document.chunks, document.spans.tolist(), strict=True)
    ):
        assert (chunk.text, chunk.start, chunk.end, chunk.index) == (
            TEXT[start:end],
            start,
            end,
            index,
        )
        assert chunk.page == (1 if start < 60 else 2)
    assert (
        sum(chunk.n_soft for chunk in document.chunks)
        == document.n_soft
        == len(document.soft_tokens)
    )
    assert sum(chunk.n_tokens for chunk in document.chunks) == document.n_tokens


def test_without_pages_no_chunk_has_one():
    assert {chunk.page for chunk in make_document().chunks} == {None}
    assert pages_between((), 0, 10) is None


def test_a_span_stands_on_the_pages_of_its_first_and_last_characters():
    starts = (0, 10, 20)
    assert pages_between(starts, 0, 10) == (1, 1)
    assert pages_between(starts, 9, 11) == (1, 2)
    assert pages_between(starts, 10, 21) == (2, 3)
    assert pages_between(starts, 5, 400) == (1, 3)


def test_the_ratio_note_appears_beyond_five_percent_and_says_why():
    document = make_document()
    assert document.ratio_got == 8
    for asked in (8, 8.3, 7.7, "chunk"):
        assert dataclasses.replace(document, ratio=asked).ratio_note is None
    assert (
        "asked for 64 text tokens per soft token, got 8.0"
        in dataclasses.replace(document, ratio=64).ratio_note
    )
    assert "use larger chunks" in dataclasses.replace(document, ratio=64).ratio_note
    assert "too short to come closer" in dataclasses.replace(document, ratio=8.5).ratio_note
    assert "at most one soft token per token" in dataclasses.replace(document, ratio=7).ratio_note


def test_a_ratio_is_chunk_or_a_number_of_at_least_one():
    assert check_ratio("chunk") == "chunk"
    assert [check_ratio(ratio) for ratio in (1, 4.5, "16")] == [1, 4.5, 16]
    for ratio in (0, 0.99, -4, float("inf"), float("nan"), "inf", "chunks", ""):
        with pytest.raises(UserError, match="`ratio`"):
            check_ratio(ratio)


def test_a_document_of_another_model_is_stale():
    document = make_document(fingerprint="a" * 64)
    document.check_fingerprint("a" * 64)
    with pytest.raises(StaleDocumentError, match="'report' was compressed by another model"):
        document.check_fingerprint("b" * 64)


def test_the_key_depends_on_text_model_chunking_window_and_ratio_but_not_on_the_name():
    document = make_document()
    others = [
        make_document(TEXT.replace("Ann", "Eve")),
        make_document(fingerprint="e" * 64),
        make_document(chunk_chars=40),
        make_document(window=2),
        make_document(ratio=4),
        make_document(ratio="chunk"),
    ]
    assert len({document.key, *(other.key for other in others)}) == 7
    assert (
        make_document(name="another").key == make_document(page_starts=(0, 9)).key == document.key
    )
    assert make_document(ratio=8).key == document.key
    assert (
        document_key(document.sha256, document.fingerprint, document.spans.tolist(), 1, 8)
        == document.key
    )
