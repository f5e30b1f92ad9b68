"""The compressed document: a file gives back what was saved, or an error, never something else."""

import dataclasses
import random
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from e2llm.checks import check_ratio
from e2llm.chunking.chunker import Chunker
from e2llm.documents.compressed import CompressedDocument, document_key, pages_between, read_header
from e2llm.errors import CorruptDocumentError, ReadError, StaleDocumentError, UserError

TEXT = (
    "The council met at noon. Ann paid, Bo did not. 会议在中午举行。👩‍👩‍👧 Nobody else came to the meeting. "
    * 2
)


def make_document(
    text: str = TEXT,
    name: str = "report",
    *,
    fingerprint: str = "f" * 64,
    ratio: float | str = 8.0,
    window: int = 1,
    page_starts: tuple[int, ...] = (),
    chunk_chars: int = 50,
    dtype: torch.dtype = torch.bfloat16,
    d_dec: int = 8,
) -> CompressedDocument:
    """Make a document of random soft tokens, their number different from chunk to chunk and the
    same for the same text.
    """
    generator = torch.Generator().manual_seed(len(text))
    spans = np.array(Chunker(chunk_chars)(text), np.int64).reshape(-1, 2)
    n_soft = np.arange(len(spans), dtype=np.int64) % 3 + 1
    return CompressedDocument(
        name=name,
        text=text,
        soft_tokens=torch.randn(int(n_soft.sum()), d_dec, generator=generator).to(dtype),
        embeddings=torch.randn(len(spans), 4, generator=generator),
        spans=spans,
        n_soft_per_chunk=n_soft,
        n_tokens_per_chunk=n_soft * 8,
        fingerprint=fingerprint,
        ratio=ratio,
        window=window,
        page_starts=page_starts,
    )


def same(left: CompressedDocument, right: CompressedDocument) -> bool:
    """Say whether two documents are equal in all fields, to the bit and the type."""

    def plain(value: object) -> object:
        if isinstance(value, torch.Tensor):
            return value.dtype, value.shape, value.contiguous().view(torch.uint8).numpy().tobytes()
        return (
            (value.dtype, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value
        )

    fields = [field.name for field in dataclasses.fields(CompressedDocument)]
    return all(plain(getattr(left, field)) == plain(getattr(right, field)) for field in fields)


@settings(max_examples=60, deadline=None)
@given(
    text=st.text(min_size=1, max_size=300),
    name=st.text(max_size=20),
    ratio=st.one_of(st.just("chunk"), st.integers(1, 64), st.floats(1, 1000)),
    pages=st.lists(st.integers(0, 300)).map(lambda starts: tuple(sorted(starts))),
    dtype=st.sampled_from([torch.bfloat16, torch.float16, torch.float32]),
)
def test_a_saved_document_is_loaded_equal(text, name, ratio, pages, dtype):
    document = make_document(text, name, ratio=ratio, page_starts=pages, dtype=dtype, window=3)
    with tempfile.TemporaryDirectory() as folder:
        loaded = CompressedDocument.load(document.save(Path(folder) / "document.e2llm"))
        assert same(loaded, document)
        assert loaded.key == document.key


def test_the_header_describes_the_document_without_its_tensors(tmp_path):
    document = make_document()
    header = read_header(document.save(tmp_path / "document.e2llm"))
    for field in (
        "name",
        "sha256",
        "fingerprint",
        "ratio",
        "window",
        "n_chunks",
        "n_soft",
        "n_tokens",
        "key",
    ):
        assert header[field] == getattr(document, field)


def test_saving_leaves_nothing_but_the_file(tmp_path):
    make_document().save(tmp_path / "document.e2llm")
    make_document(name="other").save(tmp_path / "document.e2llm")
    assert [path.name for path in tmp_path.iterdir()] == ["document.e2llm"]
    assert CompressedDocument.load(tmp_path / "document.e2llm").name == "other"


def test_a_file_cut_at_any_byte_is_an_error(tmp_path):
    path = make_document().save(tmp_path / "document.e2llm")
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises((CorruptDocumentError, ReadError)):
            CompressedDocument.load(path)


def test_a_file_with_any_byte_changed_is_an_error_or_loads_equal(tmp_path):
    document = make_document(page_starts=(0, 70))
    path = document.save(tmp_path / "document.e2llm")
    data, draw = path.read_bytes(), random.Random(0)
    for place in range(len(data)):
        for flip in {1 << draw.randrange(8), draw.randrange(1, 256)}:
            path.write_bytes(data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :])
            try:
                loaded = CompressedDocument.load(path)
            except (CorruptDocumentError, ReadError):
                continue
            assert same(loaded, document), f"byte {place} changed by {flip:#x}"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"report", b"repeat"),
        (b"8.0", b"9.0"),
        (b'window\\": 1', b'window\\": 2'),
        (b"0, 70", b"0, 71"),
    ],
    ids=["name", "ratio", "window", "pages"],
)
def test_a_changed_header_is_an_error_without_reading_the_tensors(tmp_path, old, new):
    path = make_document(page_starts=(0, 70)).save(tmp_path / "document.e2llm")
    data = path.read_bytes()
    assert data.count(old) >= 1
    path.write_bytes(data.replace(old, new))
    with pytest.raises(CorruptDocumentError, match="damaged"):
        read_header(path)


def test_a_tensor_of_one_number_turned_into_a_scalar_is_an_error(tmp_path):
    path = make_document("short").save(tmp_path / "document.e2llm")
    data = path.read_bytes()
    assert b'"shape":[1],' in data
    path.write_bytes(data.replace(b'"shape":[1],', b'"shape":[ ],'))
    with pytest.raises(CorruptDocumentError):
        CompressedDocument.load(path)


def test_other_files_are_not_documents(tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "model.safetensors", {"format": "pt"})
    save_file({"weight": torch.zeros(2)}, tmp_path / "plain.safetensors")
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("Once upon a time. " * 50)
    for name in ("model.safetensors", "plain.safetensors"):
        with pytest.raises(ReadError, match="is not a compressed document"):
            CompressedDocument.load(tmp_path / name)
    for name in ("empty", "text"):
        with pytest.raises(CorruptDocumentError, match="is not a compressed document"):
            CompressedDocument.load(tmp_path / name)


def test_a_missing_file_and_a_folder_cannot_be_read(tmp_path):
    for path in (tmp_path / "missing.e2llm", tmp_path):
        with pytest.raises(ReadError) as caught:
            CompressedDocument.load(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


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
