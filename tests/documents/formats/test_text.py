"""Plain text: every character survives, and another encoding is refused with the way out."""

import codecs
import random
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


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.rst", "a.log", "a", ".profile", "a.doc"])
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


def test_text_in_another_encoding_than_was_named_is_refused_with_byte_and_offset(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(codecs.BOM_UTF8 + b"caf\xe9")
    for message in (error_of(path, "utf-8"), error_of(path)):
        assert "is not UTF-8 (byte 0xe9 at offset 6)" in message
        assert "--encoding" in message
    assert read(path, "latin-1").text.endswith("café")


# Sentences of each script, and the encodings that people have it in.
SENTENCES = {
    "В начале июля, в чрезвычайно жаркое время. ": ("cp1251", "koi8-r", "cp866", "iso8859-5"),
    "北京是中华人民共和国的首都，会议在中午举行。\n": ("gbk", "gb18030", "utf-16-le"),
    "臺北是中華民國的首都，會議在中午舉行，價格為每噸三千元。": ("big5",),
    "会議は正午に始まった。価格は一トンあたり三千円です。\n": ("shift_jis", "euc_jp", "utf-16-be"),
    "회의는 정오에 시작되었다. 서울은 대한민국의 수도이다. ": ("euc_kr",),
    "Le café était fermé à l’été, mais l’élève a mangé des crêpes. ": ("cp1252", "utf-16-le"),
    "The price rose by 5 % to 7 €, said “Nobody”. ": ("cp1252",),
    "Zażółć gęślą jaźń. Książka leży na stole. ": ("cp1250", "iso8859-2"),
    "Η συνεδρίαση άρχισε το μεσημέρι. ": ("cp1253", "iso8859-7"),
    "Toplantı öğlen başladı, ağaçlar yeşil. ": ("cp1254",),
}


@pytest.mark.parametrize("times", [1, 100])
@pytest.mark.parametrize(
    ("text", "encoding"), [(text, name) for text, names in SENTENCES.items() for name in names]
)
def test_an_encoding_that_is_not_said_is_guessed_and_noticed(
    tmp_path: Path, text: str, encoding: str, times: int
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes((text * times).encode(encoding))
    source = read(path)
    assert source.text == text * times
    assert "was read as" in source.notices[0]


def test_a_stray_byte_is_replaced_and_counted_whether_the_encoding_is_said_or_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("naïve café 北京\n".encode() * 20 + b"stray \x92 end")
    for encoding in (None, "utf-8"):
        source = read(path, encoding)
        assert source.text.endswith("stray \ufffd end")
        assert source.notices == ("1 byte is no UTF-8 and became \ufffd",)


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
    "content",
    [
        b"\x7fELF\0\0",
        b"text\0text",
        b"\x01\x02\x03\xff\xfe" * 9,
        random.Random(1).randbytes(5000),
        random.Random(2).randbytes(5000).replace(b"\0", b""),
    ],
)
def test_a_binary_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    assert "binary" in error_of(path)
