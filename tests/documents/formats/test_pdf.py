"""PDF: pages and their text, and the ways in which a PDF can be bad."""

import logging
from pathlib import Path

import pypdf
import pytest

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


def test_a_pdf_encrypted_with_aes_is_refused_in_one_line_with_or_without_the_package_cryptography(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.pdf"
    text = "00" * 48
    path.write_bytes(
        b"%%PDF-1.7\n1 0 obj <</Type/Catalog/Pages 2 0 R>> endobj\n"
        b"2 0 obj <</Type/Pages/Kids[]/Count 0>> endobj\n"
        b"3 0 obj <</Filter/Standard/V 5/R 6/Length 256/P -4/O<%b>/U<%b>/OE<%b>/UE<%b>/Perms<%b>"
        b"/StmF/StdCF/StrF/StdCF/CF<</StdCF<</CFM/AESV3/AuthEvent/DocOpen/Length 32>>>>>> endobj\n"
        b"trailer <</Root 1 0 R/Encrypt 3 0 R/Size 4/ID[<00><00>]>>\n%%%%EOF\n"
        % tuple(value.encode() for value in (text, text, text[:64], text[:64], text[:32]))
    )
    assert "encrypted" in error_of(path)


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


def test_the_warnings_of_the_pdf_package_stay_off_the_terminal_and_its_log_level_is_put_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_pdf(tmp_path / "a.pdf", ["text"])
    path.write_bytes(path.read_bytes().replace(b"startxref\n", b"startxref\n9"))
    pypdf.PdfReader(path)
    assert caplog.records, "the file must be one that the package warns about"
    caplog.clear()
    logger = logging.getLogger("pypdf")
    level = logger.level
    assert read(path).text == "text"
    assert caplog.records == []
    assert logger.level == level
