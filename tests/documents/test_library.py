"""The library: what is stored is found by its name or its key, and kept within the limit."""

import pytest

from e2llm.documents.library import Library
from e2llm.errors import UserError
from tests.documents.samples import contents, document_files, make_document, numbered, same

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


def test_documents_put_together_are_stored_as_one_by_one(library, tmp_path):
    documents = [make_document(f"Note {place}. Ann paid.", f"n{place}") for place in range(20)]
    entries = library.put_all(documents)
    assert [entry.key for entry in entries] == [document.key for document in documents]
    other = Library(tmp_path / "other")
    for document in documents:
        other.put(document)
    assert [(entry.name, entry.key, entry.n_bytes) for entry in library.entries()] == [
        (entry.name, entry.key, entry.n_bytes) for entry in other.entries()
    ]
    assert all(same(library.get(document.key), document) for document in documents)
    used = library.use([documents[3].key, "0" * 64, documents[1].key])
    assert [entry.name for entry in used] == ["n3", "n1"]
    assert library.put_all([]) == []


def test_a_catalogue_finds_by_name_and_by_the_beginning_of_a_key(library):
    for name in ("one", "two", "two"):
        library.put(make_document(f"{name} {len(library.entries())}", name))
    catalogue = library.catalogue()
    newest, older = catalogue.find("two")
    assert newest.created_s > older.created_s
    assert catalogue.find(newest.key[:6].upper()) == [newest]
    assert catalogue.find(newest.key[:5]) == catalogue.find("three") == []
    assert newest.key in catalogue
    assert "0" * 64 not in catalogue


def test_a_stored_document_keeps_its_index_of_words_under_another_name(library):
    document = make_document()
    library.put(document)
    library.rename("report", "minutes")
    loaded = library.get(document.key)
    assert loaded.name == "minutes"
    assert "words" in vars(loaded)
    assert loaded.key == document.key


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


def test_a_text_that_two_files_hold_is_listed_under_both_names(library):
    document = make_document()
    library.put_all([document.renamed("a.txt"), document.renamed("b.txt")], beside=True)
    assert [entry.name for entry in library.entries()] == ["a.txt", "b.txt"]
    assert [library.load(name).name for name in ("a.txt", "b.txt")] == ["a.txt", "b.txt"]
    assert library.n_bytes == library.entries()[0].n_bytes
    library.rename("a.txt", "c.txt")
    assert [entry.name for entry in library.entries()] == ["b.txt", "c.txt"]
    library.rename("b.txt", "d.txt")
    assert len(library.delete("d.txt")) == 1
    assert library.load("c.txt").text == document.text
    library.delete("c.txt")
    assert not library.entries()


def test_putting_under_another_name_takes_the_names_before(library):
    document = make_document()
    library.put_all([document.renamed("a.txt"), document.renamed("b.txt")], beside=True)
    library.put(document.renamed("c.txt"))
    assert [entry.name for entry in library.entries()] == ["c.txt"]
    library.put_all([document.renamed("d.txt")], beside=True)
    library.delete(document.key[:12])
    assert not library.entries()
