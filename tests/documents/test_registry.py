"""The registry mends itself from the files, and damage is an error that says how to go on."""

import os
import time

import pytest

from e2llm.documents.library import Library
from e2llm.errors import CorruptDocumentError, UserError
from tests.documents.samples import document_files, make_document, numbered, same


def test_a_lost_registry_is_rebuilt_from_the_files(library):
    stored = [library.put(numbered(number)) for number in range(3)]
    (library.folder / "registry.sqlite").unlink()
    entries = Library(library.folder).entries()
    about = [(e.key, e.name, e.sha256, e.ratio, e.n_soft, e.n_tokens, e.n_bytes) for e in entries]
    assert about == [
        (e.key, e.name, e.sha256, e.ratio, e.n_soft, e.n_tokens, e.n_bytes) for e in stored
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
