"""Reading files: every bad one ends in one line that names it and the way out."""

import codecs
import os
import subprocess
import sys
from pathlib import Path

import pytest

from e2llm.documents.formats import Content
from e2llm.documents.reading import make_source, read
from e2llm.documents.source import Source, page_at
from e2llm.errors import ReadError
from tests.documents.files import error_of, write_pdf

IN_CHILD = (
    "import sys; from e2llm.documents.reading import read; from e2llm.errors import ReadError\n"
)
SHOW = (
    "try: source = read(sys.argv[1]); print(source.name, ascii(source.text))\nexcept ReadError "
    "as error: print(error)"
)


def run(command: list[str], stdin: bytes = b"", cwd: Path | None = None) -> str:
    """Run a command that must end without writing to standard error."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])}
    done = subprocess.run(
        command, input=stdin, capture_output=True, timeout=60, cwd=cwd, env=environment, check=False
    )
    assert done.stderr == b""
    return done.stdout.decode().strip()


def test_every_offset_of_a_pdf_has_the_page_that_holds_it() -> None:
    source = Source("a.pdf", "ab\n\ncd", (0, 4))
    assert [source.page_at(offset) for offset in range(7)] == [1, 1, 1, 1, 2, 2, 2]
    assert page_at((0, 4), -1) is None


def test_a_text_has_no_pages(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("text")
    assert read(path).page_at(0) is None


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
    assert "read_folder" in error_of(tmp_path)


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


def test_parts_are_joined_with_their_places() -> None:
    content = Content(["a\r\nb", ["c: 1\n", "d: 2\n"], "e"], "sheet", ("f was not read.",))
    source = make_source("g", content)
    assert source == Source(
        "g", "a\nb\n\nc: 1\nd: 2\n\n\ne", (0, 5, 17), "sheet", (5, 10), ("f was not read.",)
    )
