"""The library: what is stored stays stored, whatever happens to the process, the disk or the
registry.
"""

import errno
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from e2llm.documents.compressed import CompressedDocument
from e2llm.documents.library import Library
from e2llm.errors import CorruptDocumentError, LibraryError, UserError
from tests.documents.test_compressed import make_document, same

# A server that has imported torch forks each process: real processes, without 1.5 s for each.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])
NOBODY = 65534


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        path.chmod(0o755)
    shutil.rmtree(folder)


def numbered(number: int, d_dec: int = 8) -> CompressedDocument:
    return make_document(
        f"Document {number} tells its number. " * 5, f"document {number}", d_dec=d_dec
    )


def start(function: Callable[..., None], *arguments: object) -> BaseProcess:
    process = PROCESSES.Process(target=function, args=arguments)
    process.start()
    return process


def finish(*processes: BaseProcess) -> None:
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * len(processes)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def document_files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix == ".e2llm" and not path.name.startswith(".")
    )


# Storing and finding


def test_a_stored_document_is_got_equal_from_a_file_named_by_its_key(library):
    document = make_document(page_starts=(0, 70))
    entry = library.put(document)
    assert same(library.get(document.key), document)
    assert document_files(library.folder) == [library.folder / f"{document.key}.e2llm"]
    assert (entry.key, entry.name, entry.sha256, entry.fingerprint) == (
        document.key,
        "report",
        document.sha256,
        document.fingerprint,
    )
    assert (entry.ratio, entry.window) == (8.0, 1)
    assert (entry.n_chunks, entry.n_soft, entry.n_tokens) == (
        document.n_chunks,
        document.n_soft,
        document.n_tokens,
    )
    assert (
        entry.n_bytes
        == library.n_bytes
        == (library.folder / f"{document.key}.e2llm").stat().st_size
    )
    assert Library(library.folder).entries() == [library.entries()[0]]


def test_a_missing_folder_is_an_empty_library_and_reading_does_not_make_it(library):
    assert library.entries() == library.find("report") == []
    assert library.get(make_document().key) is None
    assert library.n_bytes == 0
    with pytest.raises(UserError, match="`name` "):
        library.load("report")
    assert not library.folder.exists()


def test_reading_a_folder_without_documents_writes_nothing_there(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert Library(tmp_path).entries() == []
    assert list(contents(tmp_path)) == ["notes.txt"]


def test_the_default_folder_is_in_e2llm_home(monkeypatch, tmp_path):
    monkeypatch.setenv("E2LLM_HOME", str(tmp_path))
    assert Library().folder == tmp_path / "library"


def test_putting_the_same_content_again_keeps_one_document_under_its_latest_name(library):
    for name in ("draft", "draft", "final"):
        library.put(make_document(name=name))
    assert [entry.name for entry in library.entries()] == ["final"]
    assert len(document_files(library.folder)) == 1


def test_of_several_documents_of_one_name_the_newest_is_loaded(library):
    old, new = make_document("Old text."), make_document("New text.")
    library.put(old)
    library.put(new)
    assert library.load("report").text == "New text."
    assert [entry.key for entry in library.find("report")] == [new.key, old.key]
    library.put(old)
    assert library.load("report").text == "Old text."


def test_entries_are_listed_by_name_then_age(library):
    for text, name in (("1", "b"), ("2", "c"), ("3", "a"), ("4", "b")):
        library.put(make_document(text, name))
    entries = library.entries()
    assert [entry.name for entry in entries] == ["a", "b", "b", "c"]
    assert entries[1].created_s < entries[2].created_s


def test_a_document_is_found_by_six_digits_of_its_key_if_they_are_its_alone(library):
    key = library.put(make_document()).key
    assert [entry.key for entry in library.find(key[:6])] == [key]
    assert library.load(key[:10].upper()).key == key
    assert library.find(key[:5]) == []
    for end in ("0", "1"):
        (library.folder / f"{'abcdef' + end:0<64}.e2llm").write_bytes(b"damaged")
    assert library.find("abcdef") == []
    assert len(library.find("abcdef1")) == 1


def test_an_unknown_name_is_an_error_that_suggests_the_nearest(library):
    library.put(make_document(name="annual report"))
    for method in (library.load, library.delete, lambda name: library.rename(name, "other")):
        with pytest.raises(UserError, match="did you mean 'annual report'"):
            method("anual report")
        with pytest.raises(UserError, match="e2llm library list"):
            method("zzz")


def test_a_key_that_is_a_path_finds_nothing(library, tmp_path):
    document = make_document()
    document.save(tmp_path / f"{document.key}.e2llm")
    library.put(numbered(1))
    for key in (f"../{document.key}", "", "\udcff", "a" * 64):
        assert library.get(key) is None


@pytest.mark.parametrize(
    "name", ["", "  ", "two\nlines", "tab\t", "\x1b[31m", "bad byte \udcff", "line\u2028separator"]
)
def test_a_name_must_be_one_printable_line(library, name):
    with pytest.raises(UserError, match="`name` "):
        library.put(make_document(name=name))
    library.put(make_document())
    with pytest.raises(UserError, match="`new_name` "):
        library.rename("report", name)
    assert library.find(name) == []


@pytest.mark.parametrize(
    "name",
    [
        "../report",
        "会议.pdf",
        "👩‍👩‍👧.txt",
        "Screenshot at 9.41\u202fAM",
        'it\'s 100 % "quoted"; --',
        "a" * 300,
    ],
)
def test_a_name_may_hold_any_printable_character(library, name):
    library.put(make_document(name=name))
    assert library.load(name).name == name


# Renaming and deleting


def test_renaming_changes_the_name_of_all_and_no_file(library):
    for text in ("Old text.", "New text."):
        library.put(make_document(text))
    files = {path: path.read_bytes() for path in document_files(library.folder)}
    renamed = library.rename("report", "budget")
    assert [entry.name for entry in renamed] == ["budget", "budget"]
    assert library.find("report") == []
    assert {path: path.read_bytes() for path in document_files(library.folder)} == files
    again = Library(library.folder)
    assert again.load("budget").name == again.get(renamed[1].key).name == "budget"


def test_deleting_removes_all_documents_of_the_name(library):
    for text, name in (("1", "report"), ("2", "report"), ("3", "other")):
        library.put(make_document(text, name))
    assert [entry.name for entry in library.delete("report")] == ["report", "report"]
    assert [entry.name for entry in library.entries()] == ["other"]
    assert len(document_files(library.folder)) == 1


# The limit


def test_beyond_the_limit_the_documents_unused_for_longest_are_deleted(library):
    size = library.put(numbered(0)).n_bytes
    limited = Library(library.folder, max_bytes=3 * size + 100)
    for number in (1, 2):
        limited.put(numbered(number))
    limited.get(numbered(0).key)
    limited.put(numbered(3))
    assert [entry.name for entry in limited.entries()] == ["document 0", "document 2", "document 3"]
    assert (
        limited.n_bytes
        == sum(path.stat().st_size for path in document_files(library.folder))
        <= 3 * size + 100
    )


def test_a_document_larger_than_the_limit_is_refused_and_nothing_is_deleted(library):
    size = library.put(numbered(0)).n_bytes
    before = contents(library.folder)
    with pytest.raises(UserError, match="`max_bytes` "):
        Library(library.folder, max_bytes=2 * size).put(numbered(1, d_dec=1000))
    assert contents(library.folder).keys() == before.keys()
    assert library.get(numbered(0).key) is not None


def test_a_document_as_large_as_the_limit_is_kept_alone(library):
    size = library.put(numbered(0)).n_bytes
    Library(library.folder, max_bytes=size).put(numbered(1))
    assert [entry.name for entry in library.entries()] == ["document 1"]


def test_a_stored_limit_deletes_at_once_and_survives_reopening(library):
    size = max(library.put(numbered(number)).n_bytes for number in range(4))
    assert [entry.name for entry in library.limit(2 * size)] == ["document 0", "document 1"]
    again = Library(library.folder)
    again.put(numbered(4))
    assert [entry.name for entry in again.entries()] == ["document 3", "document 4"]
    assert again.limit(None) == []
    for number in range(4):
        again.put(numbered(number))
    assert len(again.entries()) == 5


def test_a_limit_given_on_opening_stands_before_the_stored_one(library):
    size = max(library.put(numbered(number)).n_bytes for number in range(3))
    library.limit(3 * size)
    Library(library.folder, max_bytes=10 * size).put(numbered(3))
    assert len(library.entries()) == 4
    library.put(numbered(3))
    assert len(library.entries()) == 3


@pytest.mark.parametrize("max_bytes", [0, -1])
def test_a_limit_is_at_least_one_byte(library, max_bytes):
    for call in (library.limit, lambda limit: Library(library.folder, limit)):
        with pytest.raises(UserError, match="`max_bytes`"):
            call(max_bytes)


# Damage


def test_a_lost_registry_is_rebuilt_from_the_files(library):
    stored = [library.put(numbered(number)) for number in range(3)]
    (library.folder / "registry.sqlite").unlink()
    entries = Library(library.folder).entries()
    about = [
        (
            entry.key,
            entry.name,
            entry.sha256,
            entry.ratio,
            entry.n_soft,
            entry.n_tokens,
            entry.n_bytes,
        )
        for entry in entries
    ]
    assert about == [
        (
            entry.key,
            entry.name,
            entry.sha256,
            entry.ratio,
            entry.n_soft,
            entry.n_tokens,
            entry.n_bytes,
        )
        for entry in stored
    ]
    assert all(
        abs(entry.created_s - before.created_s) < 10
        for entry, before in zip(entries, stored, strict=True)
    )


@pytest.mark.parametrize("damage", ["overwritten", "cut", "a page lost"])
def test_a_damaged_registry_is_moved_aside_and_rebuilt(library, damage):
    for number in range(30):
        library.put(numbered(number))
    registry = library.folder / "registry.sqlite"
    data = registry.read_bytes()
    registry.write_bytes(
        {
            "overwritten": b"nonsense" * 900,
            "cut": data[:5000],
            "a page lost": data[:4096] + b"\xff" * 4096 + data[8192:],
        }[damage]
    )
    assert len(Library(library.folder).entries()) == 30
    assert len(list(library.folder.glob("registry.sqlite.damaged-*"))) == 1
    library.put(numbered(30))
    library.rename("document 3", "renamed")
    assert library.load("renamed").text == numbered(3).text
    assert len(Library(library.folder).entries()) == 31


def test_a_file_without_a_row_is_added_and_renames_of_others_stay(library):
    library.put(numbered(0))
    library.rename("document 0", "mine")
    document = numbered(1)
    document.save(library.folder / f"{document.key}.e2llm")
    assert [entry.name for entry in library.entries()] == ["document 1", "mine"]
    assert same(library.get(document.key), document)


def test_a_row_without_a_file_is_dropped(library):
    for number in range(2):
        library.put(numbered(number))
    (library.folder / f"{numbered(0).key}.e2llm").unlink()
    assert library.get(numbered(0).key) is None
    assert [entry.name for entry in library.entries()] == ["document 1"]
    with pytest.raises(UserError):
        library.load("document 0")


def test_only_files_without_a_row_are_read_on_opening(library):
    entry = library.put(make_document())
    (library.folder / f"{entry.key}.e2llm").write_bytes(b"unreadable")
    assert Library(library.folder).entries() == [entry]


def test_a_damaged_document_is_an_error_that_says_how_to_go_on_and_is_not_deleted(library):
    document = make_document()
    path = library.folder / f"{library.put(document).key}.e2llm"
    data = path.read_bytes()
    for damaged in (
        data[:-1],
        data[:100],
        b"",
        data[:-3] + b"xyz",
        numbered(1).save(library.folder / "other").read_bytes(),
    ):
        path.write_bytes(damaged)
        for read in (lambda: library.get(document.key), lambda: library.load("report")):
            with pytest.raises(
                CorruptDocumentError,
                match=r"'report'.*`e2llm library delete [0-9a-f]{12}`.*compress the document again",
            ) as caught:
                read()
            assert "\n" not in str(caught.value)
        assert path.read_bytes() == damaged
    library.put(document)
    assert same(library.get(document.key), document)


def test_a_damaged_document_can_be_deleted_even_after_its_name_is_lost(library):
    key = library.put(make_document()).key
    (library.folder / f"{key}.e2llm").write_bytes(b"damaged")
    (library.folder / "registry.sqlite").unlink()
    assert [entry.name for entry in library.entries()] == [f"damaged-{key[:12]}"]
    with pytest.raises(CorruptDocumentError, match=f"delete {key[:12]}"):
        library.get(key)
    library.delete(key[:12])
    assert document_files(library.folder) == []
    assert library.entries() == []


def test_temporary_files_of_killed_writers_go_after_an_hour_and_others_stay(library):
    key = library.put(make_document()).key
    old, young, foreign = (
        library.folder / name for name in (f"..{key[:39]}-x1.tmp", f".{key}-1.tmp", ".editor.tmp")
    )
    for path in (old, young, foreign):
        path.touch()
    for path in (old, foreign):
        os.utime(path, (time.time() - 4000,) * 2)
    Library(library.folder).entries()
    assert [path.exists() for path in (old, young, foreign)] == [False, True, True]


# A disk that is full, a folder that cannot be written


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
        user.execute(
            "SELECT count(*) FROM documents"
        ).fetchone()  # keeps the log beside the registry, with the renaming in it
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


# Several processes


def put_the_same_document(folder: Path) -> None:
    for _ in range(10):
        Library(folder).put(make_document())
        assert same(Library(folder).load("report"), make_document())


def test_processes_that_put_the_same_document_all_succeed_and_leave_one_file(library):
    finish(*(start(put_the_same_document, library.folder) for _ in range(4)))
    assert [path.name for path in document_files(library.folder)] == [
        f"{make_document().key}.e2llm"
    ]
    assert not list(library.folder.glob(".*.tmp"))
    assert len(library.entries()) == 1


def put_and_evict(folder: Path, first: int, max_bytes: int) -> None:
    library = Library(folder, max_bytes)
    for number in range(first, first + 15):
        library.put(numbered(number))
        for entry in random.sample(entries := library.entries(), min(3, len(entries))):
            if document := library.get(entry.key):
                assert document.key == entry.key


def test_processes_that_put_and_evict_at_once_never_break(library):
    size = library.put(numbered(0)).n_bytes
    finish(*(start(put_and_evict, library.folder, 100 * worker, 4 * size) for worker in range(4)))
    entries = library.entries()
    assert {entry.key for entry in entries} == {
        path.stem for path in document_files(library.folder)
    }
    assert library.n_bytes <= 4 * size + 200
    assert all(
        same(library.get(entry.key), numbered(int(entry.name.split()[1]))) for entry in entries
    )


def read_all(folder: Path, n_documents: int) -> None:
    assert len(Library(folder).entries()) == n_documents
    Library(folder).put(numbered(0))


def test_processes_that_meet_a_damaged_registry_at_once_all_go_on(library):
    for number in range(5):
        library.put(numbered(number))
    for _ in range(5):
        (library.folder / "registry.sqlite").write_bytes(b"nonsense" * 900)
        finish(*(start(read_all, library.folder, 5) for _ in range(4)))
        assert len(library.entries()) == 5


def put_until_killed(folder: Path, first: int, acknowledged: Path) -> None:
    library = Library(folder)
    for number in range(first, first + 1000):
        library.put(numbered(number, d_dec=50_000))
        with acknowledged.open("a") as file:
            file.write(f"{number}\n")


def test_a_process_killed_while_putting_loses_nothing_that_was_stored(library, tmp_path):
    acknowledged = tmp_path / "acknowledged"
    acknowledged.touch()
    n_rounds = 12
    for round_ in range(n_rounds):
        process = start(put_until_killed, library.folder, 1000 * round_, acknowledged)
        n_before, deadline = len(acknowledged.read_text()), time.time() + 30
        while len(acknowledged.read_text()) == n_before and time.time() < deadline:
            time.sleep(0.002)
        time.sleep(random.uniform(0, 0.05))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        stored = {entry.name for entry in library.entries()}
        assert stored >= {f"document {number}" for number in acknowledged.read_text().split()}
    assert len(stored) >= n_rounds
    for path in document_files(library.folder):
        assert CompressedDocument.load(path).key == path.stem
    library.put(make_document())
    assert len(library.entries()) == len(stored) + 1
