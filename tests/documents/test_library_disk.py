"""A disk that is full, a folder that cannot be written: errors of one line, and reading goes on."""

import errno
import os
import resource
import shutil
import signal
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from e2llm.documents.library import Library
from e2llm.errors import LibraryError
from tests.documents.processes import finish, start
from tests.documents.samples import contents, document_files, make_document, numbered, same

NOBODY = 65534


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        path.chmod(0o755)
    shutil.rmtree(folder)


def use_a_full_disk(folder: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    library = Library(folder)
    before = document_files(folder)
    # The first has no room for a document, the second not even for the registry's log.
    for room in (100_000, 10):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
        with pytest.raises(LibraryError) as caught:
            library.put(numbered(9, d_dec=20_000))
        assert all(
            part in str(caught.value)
            for part in (str(folder), os.strerror(errno.EFBIG), "E2LLM_HOME", "--library")
        )
        assert "\n" not in str(caught.value)
        assert document_files(folder) == before
        assert not list(folder.glob(".*.tmp"))
        assert [entry.name for entry in library.entries()] == ["document 1", "document 2", "mine"]
        assert same(library.get(numbered(1).key), numbered(1))
        assert library.load("mine").text == numbered(0).text
    with pytest.raises(LibraryError, match="E2LLM_HOME"):
        library.rename("mine", "other")
    library.delete("document 2")
    assert [entry.name for entry in Library(folder).entries()] == ["document 1", "mine"]
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    library.put(numbered(9))
    assert [entry.name for entry in library.entries()] == ["document 1", "document 9", "mine"]


@pytest.mark.slow
def test_on_a_full_disk_putting_is_an_error_and_reading_and_deleting_go_on(library):
    for number in range(3):
        library.put(numbered(number))
    library.rename("document 0", "mine")
    finish(start(use_a_full_disk, library.folder))


def use_a_folder_that_cannot_be_written(folders: list[Path]) -> None:
    if os.getuid() == 0:
        os.setuid(NOBODY)
    for folder in folders:
        library = Library(folder)
        names = (
            ["document 0", "document 1"]
            if folder.name in {"unregistered", "damaged"}
            else ["document 1", "mine"]
        )
        assert [entry.name for entry in library.entries()] == names
        assert library.load(names[1]).name == names[1]
        assert library.get(numbered(0).key).text == numbered(0).text
        for write in (
            lambda library=library: library.put(numbered(2)),
            lambda library=library: library.put(numbered(0)),
            lambda library=library: library.delete("document 1"),
            lambda library=library: library.rename("document 1", "other"),
            lambda library=library: library.limit(1),
            lambda folder=folder: Library(folder / "new").put(numbered(0)),
        ):
            with pytest.raises(LibraryError) as caught:
                write()
            assert all(
                part in str(caught.value) for part in (str(folder), "E2LLM_HOME", "--library")
            )
            assert "\n" not in str(caught.value)
    with pytest.raises(LibraryError, match="cannot be read"):
        Library(folders[0].parent / "locked").entries()


def test_a_library_that_cannot_be_written_is_read_and_not_touched(open_folder):
    folders = [open_folder / name for name in ("whole", "in use", "unregistered", "damaged")]
    for folder in folders:
        for number in range(2):
            Library(folder).put(numbered(number))
    (folders[2] / "registry.sqlite").unlink()
    (folders[3] / "registry.sqlite").write_bytes(b"nonsense" * 900)
    with closing(sqlite3.connect(folders[1] / "registry.sqlite")) as user:
        # Keeps the log beside the registry, with the renaming in it.
        user.execute("SELECT count(*) FROM documents").fetchone()
        for folder in folders[:2]:
            Library(folder).rename("document 0", "mine")
        assert (folders[1] / "registry.sqlite-wal").stat().st_size > 0
        (open_folder / "locked").mkdir(mode=0o000)
        before = [contents(folder) for folder in folders]
        for folder in folders:
            for path in folder.iterdir():
                path.chmod(0o444)
            folder.chmod(0o555)
        finish(start(use_a_folder_that_cannot_be_written, folders))
        assert [contents(folder) for folder in folders] == before


def test_a_file_in_the_place_of_the_folder_is_an_error_of_one_line(tmp_path):
    (tmp_path / "file").touch()
    library = Library(tmp_path / "file")
    for use in (
        library.entries,
        lambda: library.put(make_document()),
        lambda: library.get(make_document().key),
        lambda: library.limit(9),
    ):
        with pytest.raises(LibraryError, match="E2LLM_HOME or --library") as caught:
            use()
        assert str(tmp_path / "file") in str(caught.value)
        assert "\n" not in str(caught.value)
