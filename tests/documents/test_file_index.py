"""The index of a folder's files: what it does not know for certain is read."""

import os
import time
from dataclasses import replace

import pytest

from e2llm.documents.file_index import DOUBT_NS, FileIndex, note, sha256_of
from e2llm.documents.file_tree import FileTree, TreeFile


@pytest.fixture
def file(tmp_path) -> TreeFile:
    (tmp_path / "notes").mkdir()
    path = tmp_path / "notes" / "e\udcff.txt"
    path.write_text("text")
    old_ns = time.time_ns() - 2 * DOUBT_NS
    os.utime(path, ns=(old_ns, old_ns))
    (found,) = FileTree(str(tmp_path / "notes")).files()
    return found


def index(tmp_path, settings="s") -> FileIndex:
    return FileIndex(tmp_path, str(tmp_path / "notes"), settings)


def row(tmp_path, file, key="k"):
    return note(str(tmp_path / "notes"), file, key, sha256_of(file.path))


def test_what_was_noted_is_known_by_folder_and_settings(tmp_path, file):
    assert index(tmp_path).rows() == {}
    assert not index(tmp_path).path.exists()
    noted = row(tmp_path, file)
    index(tmp_path).put([noted])
    assert index(tmp_path).rows() == {"e\udcff.txt": noted}
    assert noted.name == "e?.txt"
    assert index(tmp_path, "other").rows() == {}
    assert FileIndex(tmp_path, str(tmp_path), "s").rows() == {}


def test_another_size_or_time_and_a_moment_ago_are_in_doubt(tmp_path, file):
    noted = row(tmp_path, file)
    assert noted.holds(file)
    assert not noted.holds(replace(file, n_bytes=5))
    assert not noted.holds(replace(file, mtime_ns=file.mtime_ns + 1))
    assert not replace(noted, seen_ns=file.mtime_ns + DOUBT_NS // 2).holds(file)


def test_a_file_that_changed_while_it_was_read_is_not_noted(tmp_path, file):
    with open(file.path, "a") as opened:
        opened.write("more")
    assert row(tmp_path, file) is None
    os.unlink(file.path)
    assert note(str(tmp_path / "notes"), file, "k", "") is None
    assert sha256_of(file.path) is None


def test_what_the_folder_gives_no_longer_is_gone_until_it_is_forgotten(tmp_path, file):
    index(tmp_path).put([row(tmp_path, file)])
    assert index(tmp_path).gone(lambda path: True) == []
    assert index(tmp_path).gone(lambda path: False) == [("k", "e?.txt")]
    index(tmp_path).put([row(tmp_path, file, "k2")])
    assert index(tmp_path).gone(lambda path: True) == [("k", "e?.txt")]
    index(tmp_path).forget([("k", "e?.txt")])
    assert index(tmp_path).gone(lambda path: True) == []
    assert index(tmp_path).gone(lambda path: False) == [("k2", "e?.txt")]
    assert len(index(tmp_path).rows()) == 1


@pytest.mark.parametrize("content", [b"no database at all", b"SQLite format 3\0" + bytes(4000)])
def test_a_damaged_index_is_begun_anew(tmp_path, file, content):
    (tmp_path / "files.sqlite").write_bytes(content)
    assert index(tmp_path).rows() == {}
    index(tmp_path).put([row(tmp_path, file)])
    assert len(index(tmp_path).rows()) == 1


def test_where_it_cannot_be_written_nothing_is_known(tmp_path, file):
    own = FileIndex(tmp_path / "missing", str(tmp_path / "notes"), "s")
    own.put([row(tmp_path, file)])
    assert own.rows() == {}
    assert own.gone(lambda path: False) == []
