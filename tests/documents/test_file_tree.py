"""A folder's files: all that can be read are found, and what is passed over is said."""

import os
import time
from pathlib import Path

import pytest

import e2llm
from e2llm.documents.file_tree import FileTree
from e2llm.documents.source import Source
from e2llm.errors import ReadError, UserError


def make(root: Path, **files: str | bytes) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def names(root: Path, **options) -> list[str]:
    tree = FileTree(str(root), **options)
    return [file.name for file in tree.files() if tree.is_readable(file)]


def test_files_of_all_folders_are_named_by_their_path(tmp_path):
    make(tmp_path, **{"b/report.md": "B", "a/report.md": "A", "a/deep/er/x.txt": "X", "z.txt": "Z"})
    assert names(tmp_path) == ["z.txt", "a/report.md", "a/deep/er/x.txt", "b/report.md"]
    sources = list(e2llm.read_folder(tmp_path))
    assert [source.text for source in sources] == ["Z", "A", "X", "B"]
    assert [source.name for source in sources] == names(tmp_path)


def test_what_is_hidden_installed_or_cached_is_left_out_unless_a_rule_takes_it_back(tmp_path):
    left_out = [".git/config", ".hidden.txt", "node_modules/x/readme.md", "a/__pycache__/x.txt"]
    make(
        tmp_path, **dict.fromkeys([*left_out, "venv/lib/x.txt", "venv/pyvenv.cfg", "k.md"], "text")
    )
    assert names(tmp_path) == ["k.md"]
    make(tmp_path, **{".e2llmignore": "!.hidden.txt\n!node_modules/\n"})
    assert names(tmp_path) == [".hidden.txt", "k.md", "node_modules/x/readme.md"]


def test_rules_of_gitignore_files_hold_in_their_folder_and_the_deeper_one_has_the_last_word(
    tmp_path,
):
    files = ["a.log", "keep.log", "sub/b.log", "sub/build/x.txt", "build/x.txt", "doc/frotz/y.txt"]
    make(tmp_path, **dict.fromkeys([*files, "sub/deep/c.log"], "text"))
    make(
        tmp_path,
        **{
            ".gitignore": "# made\n*.log\n!keep.log\n/build/\ndoc/frotz\n!\n\\\n",
            "sub/.gitignore": "!b.log\n",
            "sub/deep/.e2llmignore": b"\xff\xfe\n",
        },
    )
    assert names(tmp_path) == ["keep.log", "sub/b.log", "sub/build/x.txt"]


def test_unknown_binaries_are_counted_and_unknown_text_is_read(tmp_path):
    make(tmp_path, **{f"{number}.bin": os.urandom(3000) for number in range(3)})
    make(tmp_path, **{"x.so": b"\x7fELF\0\0", "LICENSE": "Free.", "b.rs": "fn main() {}"})
    make(tmp_path, **{"old.de": "Grüße".encode("latin-1") * 9, "wide": "hi".encode("utf-16")})
    tree = FileTree(str(tmp_path))
    found = [file.name for file in tree.files() if tree.is_readable(file)]
    assert found == ["LICENSE", "b.rs", "old.de", "wide"]
    assert tree.notices() == [
        "4 files of kinds that cannot be read (.bin 3, .so 1) were passed over"
    ]


def test_large_and_empty_files_are_passed_over_and_said(tmp_path):
    make(tmp_path, **{"large.txt": "x" * 2_000_000, "empty.txt": "", "fine.txt": "x"})
    tree = FileTree(str(tmp_path), 10**6)
    assert [file.name for file in tree.files()] == ["fine.txt"]
    assert tree.notices() == [
        "empty files were passed over: 1 (empty.txt)",
        "files of more than 1 MB (--max-size) were passed over: 1 (large.txt)",
    ]


def test_links_are_followed_to_files_inside_alone(tmp_path):
    root = tmp_path / "root"
    make(root, **{"a/x.txt": "X"})
    make(tmp_path, **{"outside.txt": "secret"})
    (root / "inside.txt").symlink_to("a/x.txt")
    (root / "out.txt").symlink_to(tmp_path / "outside.txt")
    (root / "a" / "loop").symlink_to(root)
    (root / "self.txt").symlink_to("self.txt")
    (root / "broken.txt").symlink_to("nothing")
    os.mkfifo(root / "pipe.txt")
    tree = FileTree(str(root))
    assert [file.name for file in tree.files()] == ["inside.txt", "a/x.txt"]
    assert tree.passed_over == {
        "links that point outside": 1,
        "links to folders": 1,
        "links that lead nowhere": 2,
        "pipes and devices": 1,
    }


def test_any_name_becomes_one_line_and_two_stay_two(tmp_path):
    odd = [
        "a\nb.txt",
        "a\tb.txt",
        "\u202etxt.exe",
        "x" * 251 + ".txt",
        "عربي\u200f.txt",
        "e\udcff.txt",
    ]
    for name in odd:
        (tmp_path / name).write_text("text")
    found = names(tmp_path)
    assert len(set(found)) == len(odd)
    assert {"a?b.txt", "a?b.txt (2)", "?txt.exe", "e?.txt"} <= set(found)
    assert len(list(e2llm.read_folder(tmp_path))) == len(odd)


def test_a_bad_file_is_an_error_among_the_others(tmp_path):
    make(tmp_path, **{"a.pdf": b"%PDF-1.4 no", "b.txt": "B", "c.txt": " \n"})
    bad, good, blank = e2llm.read_folder(tmp_path)
    assert isinstance(bad, ReadError)
    assert "a.pdf" in str(bad)
    assert isinstance(good, Source)
    assert isinstance(blank, ReadError)


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_an_error_among_the_others(tmp_path):
    make(tmp_path, **{"a/x.txt": "X", "b.txt": "B", "c.txt": "C"})
    (tmp_path / "a").chmod(0)
    (tmp_path / "b.txt").chmod(0)
    forbidden, good, folder = e2llm.read_folder(tmp_path)
    (tmp_path / "a").chmod(0o755)
    assert isinstance(forbidden, ReadError)
    assert good.name == "c.txt"
    assert "a/" in str(folder)


@pytest.mark.parametrize("missing", ["nothing", "file.txt"])
def test_what_is_no_folder_is_refused(tmp_path, missing):
    make(tmp_path, **{"file.txt": "text"})
    with pytest.raises(ReadError, match="is no folder"):
        list(e2llm.read_folder(tmp_path / missing))
    with pytest.raises(UserError, match="encoding"):
        list(e2llm.read_folder(tmp_path, encoding="latin-99"))


def test_a_file_that_grows_while_it_is_read_ends_where_it_ended_when_it_was_opened(
    tmp_path, monkeypatch
):
    path = tmp_path / "log.txt"
    path.write_text("one\n")
    size = os.fstat

    def grown(handle):
        state = size(handle)
        with path.open("a") as file:
            file.write("two\n")
        return state

    monkeypatch.setattr(os, "fstat", grown)
    assert e2llm.read(path).text.startswith("one\n")
    assert len(e2llm.read(path).text) < 40


def test_ten_thousand_files_take_no_time(tmp_path):
    for folder in range(10):
        (tmp_path / str(folder)).mkdir()
        for number in range(1_000):
            (tmp_path / str(folder) / f"{number}.txt").touch()
    start_s = time.perf_counter()
    tree = FileTree(str(tmp_path))
    assert not list(tree.files())
    assert tree.passed_over["empty files"] == 10_000
    assert time.perf_counter() - start_s < 10
