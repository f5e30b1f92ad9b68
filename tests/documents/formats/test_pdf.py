"""PDF: pages and their text, and the ways in which a PDF can be bad."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from e2llm.documents.formats.running import drop_running
from e2llm.documents.reading import read
from e2llm.errors import ReadError
from tests.documents.files import error_of, write_pdf


def test_the_page_starts_of_a_pdf_cut_its_text_into_pages(tmp_path: Path) -> None:
    source = read(write_pdf(tmp_path / "a.pdf", ["first page", "", "third page"]))
    ends = [*source.page_starts[1:], len(source.text)]
    assert [
        source.text[start:end] for start, end in zip(source.page_starts, ends, strict=True)
    ] == ["first page\n\n", "\n\n", "third page"]


def test_a_pdf_encrypted_with_the_empty_password_is_read(tmp_path: Path) -> None:
    assert read(write_pdf(tmp_path / "a.pdf", ["open"], password="")).text == "open"


def test_a_pdf_with_a_password_is_refused(tmp_path: Path) -> None:
    assert "password" in error_of(write_pdf(tmp_path / "a.pdf", ["secret"], password="xyz"))


def test_a_pdf_of_scanned_pages_points_to_ocr(tmp_path: Path) -> None:
    assert "OCR" in error_of(write_pdf(tmp_path / "a.pdf", ["", ""]))


def test_a_pdf_without_pages_is_refused(tmp_path: Path) -> None:
    assert "no pages" in error_of(write_pdf(tmp_path / "a.pdf", []))


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6])
def test_a_truncated_pdf_is_refused_or_read_but_never_fails_otherwise(
    tmp_path: Path, kept: float
) -> None:
    whole = write_pdf(tmp_path / "a.pdf", ["one", "two"]).read_bytes()
    path = tmp_path / "cut.pdf"
    path.write_bytes(whole[: int(len(whole) * kept)])
    try:
        assert set(read(path).text.split()) <= {"one", "two"}
    except ReadError:
        error_of(path)


@pytest.mark.parametrize("content", [b"%PDF-1.7\n" + bytes(range(256)) * 8, b"just text"])
def test_what_only_claims_to_be_a_pdf_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(content)
    error_of(path)


def test_files_are_read_in_several_threads(tmp_path: Path) -> None:
    paths = [write_pdf(tmp_path / f"{at}.pdf", [f"number {at}"]) for at in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert [source.text for source in pool.map(read, paths)] == [
            f"number {at}" for at in range(4)
        ]


def test_lines_that_repeat_at_the_edges_of_pages_are_kept_where_their_numbers_do_not_count() -> (
    None
):
    pages = [f"Head\nbody {at}\nmore\nsum {at * at}" for at in range(4)]
    assert drop_running(pages) == [pages[0], *(page[5:] for page in pages[1:])]
    assert drop_running(["1", "2", "3"]) == ["1", "2", "3"]
