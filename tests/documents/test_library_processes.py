"""Several processes use a library at once, and some are killed: nothing stored is lost."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from e2llm.documents.compressed import CompressedDocument
from e2llm.documents.library import Library
from tests.documents.processes import finish, start
from tests.documents.samples import document_files, make_document, numbered, same


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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
