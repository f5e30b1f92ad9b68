"""Choosing a format: by first bytes, then by suffix; and adding one from outside."""

import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2llm.documents.formats import FORMATS, Format, names, suffixes
from e2llm.documents.reading import read
from e2llm.errors import MissingPackageError
from tests.documents.files import error_of, write_docx, write_pdf


def write_zip(path: Path) -> Path:
    """Write a zip in which no format lies."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "text")
    return path


def test_a_zip_that_is_no_word_file_is_refused(tmp_path: Path) -> None:
    assert "is a zip" in error_of(write_zip(tmp_path / "a.zip"))


def test_the_first_bytes_overrule_the_suffix(tmp_path: Path) -> None:
    assert read(write_pdf(tmp_path / "a.txt", ["a pdf"])).page_starts == (0,)
    assert (
        read(write_docx(tmp_path / "b.pdf", "<w:p><w:r><w:t>a docx</w:t></w:r></w:p>")).text
        == "a docx"
    )
    (tmp_path / "page").write_text("<!DOCTYPE html><p>a page")
    assert read(tmp_path / "page").text == "a page"
    (tmp_path / "page.md").write_text("<!DOCTYPE html><p>source")
    assert read(tmp_path / "page.md").text == "<!DOCTYPE html><p>source"


def test_an_old_word_file_is_refused_whatever_its_suffix(tmp_path: Path) -> None:
    for name in ("a.doc", "a.docx", "a.txt"):
        (tmp_path / name).write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(512))
        assert "save it as .docx" in error_of(tmp_path / name)


@pytest.mark.parametrize(
    ("module", "suffix", "package"),
    [
        ("pypdf", ".pdf", "pypdf"),
        ("docx", ".docx", "python-docx"),
        ("bs4", ".html", "beautifulsoup4"),
    ],
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, suffix: str, package: str
) -> None:
    # Python's import says of None that it is not there.
    monkeypatch.setitem(sys.modules, module, None)
    path = tmp_path / f"a{suffix}"
    path.write_text("<p>text</p>")
    with pytest.raises(MissingPackageError) as caught:
        read(path)
    assert str(caught.value) == f"reading {suffix} needs {package}: pip install 'e2llm[documents]'"


@pytest.fixture
def formats() -> Iterator[list[Format]]:
    """The list of formats, to be added to; it is put back as it was."""
    before = [*FORMATS]
    yield FORMATS
    FORMATS[:] = before


def read_backwards(data: bytes, encoding: str | None) -> str:
    return data.decode()[::-1]


def test_a_format_is_added_with_one_function_and_one_line(
    tmp_path: Path, formats: list[Format]
) -> None:
    formats.append(Format("rev", (".rev",), read_backwards))
    (tmp_path / "a.rev").write_text("txet")
    assert read(tmp_path / "a.rev").text == "text"
    assert names().startswith("txt, md, ")
    assert ".rev" in suffixes()


def test_a_format_added_later_goes_before_an_earlier_one(
    tmp_path: Path, formats: list[Format]
) -> None:
    (tmp_path / "a.html").write_text("txet")
    formats.append(Format("rev", (".html",), read_backwards))
    assert read(tmp_path / "a.html").text == "text"


def test_formats_with_the_same_first_bytes_are_told_apart_by_a_closer_look(
    tmp_path: Path, formats: list[Format]
) -> None:
    def is_book(data: bytes) -> bool:
        return b"mimetype" in data

    formats.append(Format("book", (".book",), lambda *_: "a book", (b"PK\x03\x04",), is_book))
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        archive.writestr("mimetype", "book")
    assert read(tmp_path / "a").text == "a book"
    path = write_docx(tmp_path / "b.book", "<w:p><w:r><w:t>a docx</w:t></w:r></w:p>")
    assert read(path).text == "a docx"
    assert "is a zip" in error_of(write_zip(tmp_path / "c.book"))


def test_at_most_eight_formats_are_named(formats: list[Format]) -> None:
    formats += [Format(f"x{number}", (), read_backwards) for number in range(4)]
    first = ", ".join(known.name for known in FORMATS[:8])
    more = f" and {len(FORMATS) - 8} more (e2llm.documents.formats.FORMATS)"
    assert names() == first + more
