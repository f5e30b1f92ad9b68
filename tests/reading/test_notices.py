"""Notices: one line for many documents, and none for what nobody asked for."""

from e2llm.documents.compressed import CompressedDocument
from e2llm.documents.source import Source
from tests.reading.conftest import TEXT


def notices(pair, documents):
    answer = pair.ask("Who?", documents, 0, max_new_tokens=2)
    return [notice for notice in answer.notices if "asked for" in notice]


def test_notes_of_many_documents_are_one_line_that_counts_and_names(trained_pair):
    documents = [trained_pair.compress(TEXT, f"note {n}", ratio=400) for n in range(5)]
    documents += [trained_pair.compress(TEXT[:200], f"short {n}") for n in range(3)]
    (line,) = notices(trained_pair, documents)
    assert line == (
        "5 of 8 documents (note 0, note 1, note 2 and 2 more), the first: "
        f"{documents[0].ratio_note}"
    )


def test_a_note_of_one_document_of_several_names_it(trained_pair):
    documents = [trained_pair.compress(TEXT, name, ratio) for name, ratio in (("a", 400), ("b", 4))]
    assert notices(trained_pair, documents) == [f"a: {documents[0].ratio_note}"]


def test_nothing_is_said_of_a_ratio_that_nobody_asked_for(make_pair):
    pair = make_pair(trained=True, ratio=400)
    document = pair.compress(TEXT)
    assert document.ratio_note
    assert notices(pair, [document]) == []
    document = pair.compress(TEXT, ratio=300)
    assert notices(pair, [document]) == [document.ratio_note]


def test_what_a_file_did_not_give_is_said_with_each_answer(pair, tmp_path):
    source = Source("a.pdf", "Ann paid the bill.", (0,), "slide", notices=("2 pictures unread.",))
    document = pair.compress(source)
    assert "2 pictures unread." in pair.ask("Who paid?", document).notices
    loaded = CompressedDocument.load(document.save(tmp_path / "a.e2llm"))
    assert (loaded.notices, loaded.unit) == (source.notices, "slide")
    assert pair.ask("Who paid?", loaded).expanded[0].unit == "slide"
    other = pair.compress("Bob slept.", "b")
    assert "a.pdf: 2 pictures unread." in pair.ask("Who paid?", [loaded, other]).notices
