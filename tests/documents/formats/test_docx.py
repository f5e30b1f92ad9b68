"""Word files: their text in order, nothing that is not part of it, and the ways to be bad."""

import zipfile
from pathlib import Path

import docx

from e2llm.documents.reading import read
from e2llm.documents.source import Source
from tests.documents.files import error_of, write_docx


def test_a_word_file_gives_paragraphs_and_tables_in_order(tmp_path: Path) -> None:
    document = docx.Document()
    document.add_heading("Heading")
    document.add_paragraph("before\ttab\nline")
    table = document.add_table(2, 2)
    for cell, text in zip(table._cells, ["a", "b", "", "d"], strict=True):
        cell.text = text
    table.cell(1, 1).add_paragraph("below")
    document.add_paragraph("")
    document.add_paragraph("after")
    document.save(str(tmp_path / "a.docx"))
    assert read(tmp_path / "a.docx") == Source(
        "a.docx", "# Heading\n\nbefore\ttab\nline\n\n| a | b |\n|---|---|\n|  | d below |\n\nafter"
    )


def test_a_merged_cell_of_a_word_table_comes_once_and_a_table_in_a_cell_is_read(
    tmp_path: Path,
) -> None:
    document = docx.Document()
    table = document.add_table(2, 2)
    table.cell(0, 0).merge(table.cell(0, 1)).text = "wide"
    table.cell(1, 0).text = "outer"
    table.cell(1, 1).add_table(1, 1).cell(0, 0).text = "inner"
    document.save(str(tmp_path / "a.docx"))
    assert read(tmp_path / "a.docx").text == "| wide |  |\n|---|---|\n| outer | inner |"


def test_content_controls_links_insertions_and_text_boxes_of_a_word_file_are_read_not_deletions(
    tmp_path: Path,
) -> None:
    run = "<w:r><w:t>{}</w:t></w:r>"
    box = (
        "<w:r><w:pict><w:txbxContent><w:p>"
        + run.format("boxed")
        + "</w:p></w:txbxContent></w:pict></w:r>"
    )
    path = write_docx(
        tmp_path / "a.docx",
        "<w:sdt><w:sdtContent><w:p>" + run.format("control") + "</w:p></w:sdtContent></w:sdt>",
        "<w:p><w:hyperlink>"
        + run.format("link ")
        + "</w:hyperlink><w:ins>"
        + run.format("new")
        + "</w:ins>"
        "<w:del><w:r><w:delText>old</w:delText></w:r></w:del><w:moveFrom>"
        + run.format("moved")
        + "</w:moveFrom></w:p>",
        "<w:p>" + box + run.format("host") + "</w:p>",
        "<w:p><w:r><w:ruby><w:rt>"
        + run.format("kana")
        + "</w:rt><w:rubyBase>"
        + run.format("漢字")
        + "</w:rubyBase></w:ruby></w:r></w:p>",
    )
    assert read(path).text == "control\n\nlink new\n\nhost\n\nboxed\n\n漢字"


def test_a_word_file_with_an_external_entity_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("SECRET")
    whole = zipfile.ZipFile(
        write_docx(tmp_path / "whole.docx", "<w:p><w:r><w:t>plain MARK</w:t></w:r></w:p>")
    )
    with zipfile.ZipFile(tmp_path / "a.docx", "w") as archive:
        for member in whole.namelist():
            content = whole.read(member)
            if member == "word/document.xml":
                head, _, body = content.replace(b"MARK", b"&leak;").partition(b"?>")
                uri = (tmp_path / "secret").as_uri()
                entity = f'<!DOCTYPE x [<!ENTITY leak SYSTEM "{uri}">]>'
                content = head + b"?>" + entity.encode() + body
            archive.writestr(member, content)
    assert "declares XML entities" in error_of(tmp_path / "a.docx")


def test_another_office_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    whole = zipfile.ZipFile(write_docx(tmp_path / "a.docx"))
    with zipfile.ZipFile(path, "w") as archive:
        for member in whole.namelist():
            archive.writestr(
                member,
                whole.read(member).replace(
                    b"wordprocessingml.document.main", b"spreadsheetml.sheet.main"
                ),
            )
    assert "not a .docx" in error_of(path)


def test_a_word_file_cut_short_or_with_a_damaged_member_is_refused(tmp_path: Path) -> None:
    whole = write_docx(
        tmp_path / "whole.docx", "<w:p><w:r><w:t>text</w:t></w:r></w:p>"
    ).read_bytes()
    path = tmp_path / "a.docx"
    path.write_bytes(whole[: len(whole) // 2])
    assert "damaged" in error_of(path)
    middle = whole.index(b"word/document.xml") + 40
    path.write_bytes(whole[:middle] + b"garbage" + whole[middle + 7 :])
    assert "damaged" in error_of(path)


def test_a_word_file_without_text_is_refused(tmp_path: Path) -> None:
    assert "no text" in error_of(write_docx(tmp_path / "a.docx"))
