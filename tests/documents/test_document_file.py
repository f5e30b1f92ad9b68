"""A document's file gives back what was saved, or an error, never something else."""

import random
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from e2llm.documents.compressed import CompressedDocument
from e2llm.documents.document_file import read_header
from e2llm.errors import CorruptDocumentError, ReadError
from tests.documents.samples import make_document, same


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


@pytest.mark.slow
def test_a_file_cut_at_any_byte_is_an_error(tmp_path):
    path = make_document().save(tmp_path / "document.e2llm")
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises((CorruptDocumentError, ReadError)):
            CompressedDocument.load(path)


@pytest.mark.slow
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
