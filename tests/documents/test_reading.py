"""Reading files: every format's text survives, and every bad file ends in one line that names it
and the way out.
"""

import codecs
import logging
import os
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import docx
import pypdf
import pytest
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pypdf.generic import DictionaryObject, NameObject, StreamObject

from e2llm.documents.reading import READERS, Source, page_at, read
from e2llm.errors import MissingPackageError, ReadError, UserError

IN_CHILD = (
    "import sys; from e2llm.documents.reading import read; from e2llm.errors import ReadError\n"
)
SHOW = (
    "try: source = read(sys.argv[1]); print(source.name, ascii(source.text))\nexcept ReadError "
    "as error: print(error)"
)


def write_pdf(path: Path, pages: list[str], password: str | None = None) -> Path:
    """Write one page per text; an empty text is a page without any."""
    writer = pypdf.PdfWriter()
    font = DictionaryObject(
        {
            NameObject(f"/{k}"): NameObject(f"/{v}")
            for k, v in {"Type": "Font", "Subtype": "Type1", "BaseFont": "Helvetica"}.items()
        }
    )
    for text in pages:
        page = writer.add_blank_page(612, 792)
        page[NameObject("/Resources")] = DictionaryObject(
            {NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})}
        )
        stream = StreamObject()
        stream.set_data(
            f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode() if text else b"0 0 612 792 re f"
        )
        page[NameObject("/Contents")] = writer._add_object(stream)
    if password is not None:
        writer.encrypt(user_password=password, owner_password="owner", algorithm="RC4-128")
    writer.write(path)
    return path


def write_docx(path: Path, *body_xml: str) -> Path:
    """Write a Word file whose body is the given WordprocessingML."""
    document = docx.Document()
    for xml in body_xml:
        document.element.body.insert(
            len(document.element.body) - 1, parse_xml(xml.replace(">", f" {nsdecls('w')}>", 1))
        )
    document.save(str(path))
    return path


def error_of(path: Path | str, encoding: str | None = None) -> str:
    """Return the message of the error that reading raises, after checking what holds for all of
    them.
    """
    with pytest.raises(ReadError) as caught:
        read(path, encoding)
    message = str(caught.value)
    assert os.path.basename(path) in message
    assert len(message.splitlines()) == 1
    assert ": " in message
    return message


def run(command: list[str], stdin: bytes = b"", cwd: Path | None = None) -> str:
    """Run a command that must end without writing to standard error."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])}
    done = subprocess.run(
        command, input=stdin, capture_output=True, timeout=60, cwd=cwd, env=environment, check=False
    )
    assert done.stderr == b""
    return done.stdout.decode().strip()


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


def test_text_in_another_encoding_is_refused_with_the_byte_and_its_offset_and_read_when_the_encoding_is_named(
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


def test_html_keeps_its_blocks_as_line_breaks_and_loses_its_mark_up_and_scripts(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.html"
    path.write_text(
        "<!doctype html><html><head><title>Title</title><style>x {}</style><script>var "
        "y</script></head><body><!-- no --><h1>Head\n  line</h1><p>one "
        "<b>two</b>,\nthree<br>four &amp; &eacute; "
        "&#128512;</p><noscript>no</noscript><template>no</template>"
        "<ul><li>first</li><li>second</li></ul><table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>"
        "<pre>def f():\n    pass\n</pre>end</body></html>"
    )
    expected = [
        "Title",
        "Head line",
        "one two, three\nfour & é 😀",
        "first\nsecond",
        "a\tb\n1\t2",
        "def f():\n    pass",
        "end",
    ]
    assert read(path).text == "\n\n".join(expected)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"<meta charset=iso-8859-15><p>\xa4</p>", "€"),
        (
            b"<meta charset=iso-8859-1><p>\x93caf\xe9\x94</p>",
            "“café”",
        ),  # as browsers read it: as windows-1252
        (b'<?xml version="1.0" encoding="koi8-r"?><html><p>\xc4</p></html>', "д"),
        (b"<meta charset=utf-16><p>caf\xc3\xa9</p>", "café"),
        (b"<meta charset=nonsense><p>caf\xc3\xa9</p>", "café"),
        (codecs.BOM_UTF16_LE + "<p>café</p>".encode("utf-16-le"), "café"),
    ],
)
def test_html_is_decoded_as_it_declares(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "a.htm"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(path).text == text


def test_html_without_a_declaration_is_utf_8_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_bytes(b"<p>caf\xe9</p>")
    assert "offset 6" in error_of(path)
    assert read(path, "latin-1").text == "café"


def test_html_nested_deeper_than_python_recurses_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text("<div>" * 5000 + "deep" + "</div>" * 5000)
    assert read(path).text == "deep"


@pytest.mark.parametrize("content", ["<p>&#" + "1" * 6000 + ";</p>", "<script>only", "<div></div>"])
def test_html_that_breaks_its_parser_or_holds_no_text_is_refused(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "a.html"
    path.write_text(content)
    error_of(path)


def test_the_page_starts_of_a_pdf_cut_its_text_into_pages(tmp_path: Path) -> None:
    source = read(write_pdf(tmp_path / "a.pdf", ["first page", "", "third page"]))
    ends = [*source.page_starts[1:], len(source.text)]
    assert [
        source.text[start:end] for start, end in zip(source.page_starts, ends, strict=True)
    ] == ["first page\n\n", "\n\n", "third page"]


def test_every_offset_of_a_pdf_has_the_page_that_holds_it() -> None:
    source = Source("a.pdf", "ab\n\ncd", (0, 4))
    assert [source.page_at(offset) for offset in range(7)] == [1, 1, 1, 1, 2, 2, 2]
    assert page_at((0, 4), -1) is None


def test_a_text_has_no_pages(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("text")
    assert read(path).page_at(0) is None


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
        b"%%PDF-1.7\n1 0 obj <</Type/Catalog/Pages 2 0 R>> endobj\n2 0 obj <</Type/Pages/Kids[]/Count 0>> endobj\n"
        b"3 0 obj <</Filter/Standard/V 5/R 6/Length 256/P -4/O<%b>/U<%b>/OE<%b>/UE<%b>/Perms<%b>/StmF/StdCF/StrF/StdCF"
        b"/CF<</StdCF<</CFM/AESV3/AuthEvent/DocOpen/Length 32>>>>>> endobj\ntrailer <</Root 1 0 R/Encrypt 3 0 R/Size 4/ID[<00><00>]>>\n%%%%EOF\n"
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
        "a.docx", "Heading\n\nbefore\ttab\nline\n\na\tb\n\td\nbelow\n\nafter"
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
    assert read(tmp_path / "a.docx").text == "wide\nouter\tinner"


def test_content_controls_links_insertions_and_text_boxes_of_a_word_file_are_read_and_deletions_are_not(
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


def test_an_external_entity_in_a_word_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("SECRET")
    whole = zipfile.ZipFile(
        write_docx(tmp_path / "whole.docx", "<w:p><w:r><w:t>plain MARK</w:t></w:r></w:p>")
    )
    with zipfile.ZipFile(tmp_path / "a.docx", "w") as archive:
        for member in whole.namelist():
            content = whole.read(member)
            if member == "word/document.xml":
                head, _, body = content.replace(b"MARK", b"&leak;").partition(b"?>")
                content = (
                    head
                    + f'?><!DOCTYPE x [<!ENTITY leak SYSTEM "{(tmp_path / "secret").as_uri()}">]>'.encode()
                    + body
                )
            archive.writestr(member, content)
    assert read(tmp_path / "a.docx").text == "plain"


def test_a_zip_that_is_no_word_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "text")
    assert "is a zip" in error_of(path)


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


def test_a_word_file_that_unzips_to_more_than_a_gibibyte_is_refused_before_it_is_unzipped(
    tmp_path: Path,
) -> None:
    data = bytearray(write_docx(tmp_path / "whole.docx").read_bytes())
    entry = data.index(
        b"PK\x01\x02"
    )  # the first member in the central directory; its size is at offset 24
    data[entry + 24 : entry + 28] = (2**30).to_bytes(4, "little")
    path = tmp_path / "a.docx"
    path.write_bytes(data)
    assert "limit of 1,073,741,824" in error_of(path)


def test_a_word_file_without_text_is_refused(tmp_path: Path) -> None:
    assert "no text" in error_of(write_docx(tmp_path / "a.docx"))


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
    "content", [b"", b" \n\t\r\n", codecs.BOM_UTF8, codecs.BOM_UTF16_LE + b"\n\0"]
)
@pytest.mark.parametrize("suffix", [".txt", ".html", ".pdf", ".docx"])
def test_a_file_that_is_empty_or_blank_is_refused(
    tmp_path: Path, content: bytes, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    error_of(path)


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


@pytest.mark.parametrize("name", ["nowhere.txt", "no/where.txt", "a.txt/b.txt", "a" * 300])
def test_a_path_that_leads_to_no_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.txt").write_text("text")
    assert "check the path" in error_of(tmp_path / name)


def test_a_name_with_line_breaks_or_undecodable_bytes_still_gives_one_printable_line(
    tmp_path: Path,
) -> None:
    for name in ("two\nlines", "a\0b", os.fsdecode(b"caf\xe9")):
        with pytest.raises(ReadError) as caught:
            read(tmp_path / name)
        assert str(caught.value).isprintable()
    (tmp_path / os.fsdecode(b"caf\xe9")).write_text("text")
    assert read(tmp_path / os.fsdecode(b"caf\xe9")) == Source("caf?", "text")


def test_a_directory_points_to_its_files(tmp_path: Path) -> None:
    assert str(tmp_path / "*.txt") in error_of(tmp_path)


def test_a_file_that_this_user_may_not_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "a.txt").chmod(0)
    tmp_path.chmod(0o755)
    become_nobody = "import os\nif os.getuid() == 0: os.setuid(65534)\n"
    message = run([sys.executable, "-c", IN_CHILD + become_nobody + SHOW, "a.txt"], cwd=tmp_path)
    assert message.startswith("'a.txt' may not be read")


def test_a_named_pipe_and_a_device_are_refused_without_being_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (str(tmp_path / "pipe"), "/dev/zero"):
        assert "is a pipe or a device" in run([sys.executable, "-c", IN_CHILD + SHOW, path])


@pytest.mark.parametrize("path", ["-", "/dev/stdin"])
def test_standard_input_is_read(path: str) -> None:
    assert run([sys.executable, "-c", IN_CHILD + SHOW, path], "é\r\n".encode()) == r"stdin '\xe9\n'"


def test_standard_input_may_hold_any_format(tmp_path: Path) -> None:
    pdf = write_pdf(tmp_path / "a.pdf", ["a pdf"]).read_bytes()
    for content, text in ((pdf, "a pdf"), (b"<html><p>a page", "a page")):
        assert run([sys.executable, "-c", IN_CHILD + SHOW, "-"], content) == f"stdin '{text}'"


def test_standard_input_that_is_empty_or_closed_is_refused() -> None:
    assert run([sys.executable, "-c", IN_CHILD + SHOW, "-"]).startswith("standard input is empty")
    command = ["bash", "-c", '"$0" -c "$1" - <&-', sys.executable, IN_CHILD + SHOW]
    assert run(command).startswith("standard input is closed")


def test_the_pipe_of_a_process_substitution_is_read() -> None:
    command = ["bash", "-c", '"$0" -c "$1" <(echo from a command)', sys.executable, IN_CHILD + SHOW]
    assert run(command).endswith(r"'from a command\n'")


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
    monkeypatch.setitem(
        sys.modules, module, None
    )  # which makes Python's import say that it is not there
    path = tmp_path / f"a{suffix}"
    path.write_text("<p>text</p>")
    with pytest.raises(MissingPackageError) as caught:
        read(path)
    assert str(caught.value) == f"reading {suffix} needs {package}: pip install 'e2llm[documents]'"


def test_a_format_is_added_with_one_function_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(READERS, ".rev", lambda data, encoding: data.decode()[::-1])
    (tmp_path / "a.rev").write_text("txet")
    assert read(tmp_path / "a.rev").text == "text"
