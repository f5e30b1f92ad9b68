"""Plain text: every character survives, and another encoding is refused with the way out."""

import codecs
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from e2llm.documents.reading import read
from e2llm.documents.source import Source
from e2llm.errors import ReadError, UserError
from tests.documents.files import error_of


@settings(deadline=None, max_examples=200)
@given(
    text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
)
def test_text_survives_a_round_trip_except_for_the_kind_of_line_break(
    tmp_path_factory: pytest.TempPathFactory, text: str, encoding: str
) -> None:
    assume(text.strip())
    assume(encoding != "utf-8" or not text.startswith(("\ufeff", "%PDF-", "PK")))
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_bytes(text.encode(encoding))
    assert read(path) == Source("any.txt", text.replace("\r\n", "\n").replace("\r", "\n"))


@pytest.mark.parametrize(
    "name", ["a.txt", "a.md", "a.rst", "a.py", "a.log", "a", ".profile", "a.doc"]
)
def test_known_and_unknown_suffixes_are_read_as_text(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("<b>plain</b>")
    assert read(tmp_path / name) == Source(name, "<b>plain</b>")


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_a_byte_order_mark_decides_the_encoding_and_is_not_part_of_the_text(
    tmp_path: Path, mark: bytes, encoding: str
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(mark + "é😀".encode(encoding))
    assert read(path).text == "é😀"


def test_text_in_another_encoding_is_refused_with_byte_and_offset_and_read_when_it_is_named(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"caf\xe9")
    message = error_of(path)
    assert "UTF-8" in message
    assert "byte 0xe9 at offset 3" in message
    assert "--encoding latin-1" in message
    assert read(path, "latin-1").text == "café"


def test_the_offset_of_a_wrong_byte_counts_the_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(codecs.BOM_UTF8 + b"caf\xe9")
    assert "offset 6" in error_of(path)


@pytest.mark.parametrize("name", ["klingon", "", "base64", "a\0b", "\udcff"])
def test_an_unknown_encoding_is_the_users_error(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text("text")
    with pytest.raises(UserError, match="encoding ") as caught:
        read(path, name)
    assert not isinstance(caught.value, ReadError)
    assert len(str(caught.value).splitlines()) == 1


def test_lone_surrogates_never_get_into_the_text_whatever_the_codec_makes(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(rb"a\ud800b \ud83d\ude00")
    assert read(path, "unicode_escape").text == "a\ufffdb 😀"


@pytest.mark.parametrize(
    "content", [b"\x7fELF\0\0", b"\x89PNG\r\n\x1a\n\0\0", b"text\0text", "text".encode("utf-16-le")]
)
def test_a_binary_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    assert "binary" in error_of(path)


def test_utf_16_without_a_mark_is_read_when_the_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("text".encode("utf-16-le"))
    assert "--encoding utf-16-le" in error_of(path)
    assert read(path, "utf-16-le").text == "text"
