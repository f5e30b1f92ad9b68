"""Data sets that `datasets` loads as sources: their columns, and what goes wrong."""

import sys

import pytest

from e2llm.errors import E2LLMError, MissingPackageError, UserError
from e2llm.training.data import QuestionRecord, SourceSettings, open_source
from tests.training.data.opening import refusal
from tests.training.data.writing import texts, write_lines


def test_columns_map_the_names_of_a_data_set_to_ours(tmp_path, datasets):
    rows = [
        {
            "key": i,
            "doc": {"body": f"Body {i // 2}."},
            "question": f"Q{i}?",
            "replies": [{"text": f"A{i}"}, {"text": "B"}],
        }
        for i in range(4)
    ]
    write_lines(tmp_path / "hub" / "train.jsonl", rows)
    columns = {"id": "key", "context": "doc.body", "answers": "replies.text"}
    source = open_source(SourceSettings(dataset=str(tmp_path / "hub"), columns=columns, name="hub"))
    assert source[3] == QuestionRecord("3", "Body 1.", "Q3?", ("A3", "B"), "hub")
    assert source.document(2) == source.document(3) != source.document(1)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (None, "has no column text or question, but title, body; map them"),
        ({"text": "content"}, "has no column content, but title, body"),
        ({"text": "body.txt"}, "has not the columns that are read ('txt'), but title, body.text"),
        ({"text": "title.x"}, "has not the columns that are read"),
        ({"question": "title"}, "`context` is missing"),
    ],
)
def test_columns_that_are_not_there_are_refused_with_those_that_are(
    tmp_path, datasets, columns, words
):
    write_lines(tmp_path / "hub" / "train.jsonl", [{"title": "A", "body": {"text": "B"}}])
    message = refusal(SourceSettings(dataset=str(tmp_path / "hub"), columns=columns))
    assert words in message


def test_a_data_set_that_cannot_be_loaded_is_an_error_of_one_line(tmp_path, datasets):
    write_lines(tmp_path / "hub" / "train.jsonl", texts())
    assert "Unknown split" in refusal(SourceSettings(dataset=str(tmp_path / "hub"), split="dev"))
    assert "not found" in refusal(SourceSettings(dataset=str(tmp_path / "hub"), config="other"))
    assert "did you mean 'squad'?" in refusal(SourceSettings(dataset="squat"))
    with pytest.raises(E2LLMError, match="cannot be loaded") as caught:
        open_source(SourceSettings(dataset="nobody/nothing"))
    assert not isinstance(caught.value, UserError)


def test_without_the_package_datasets_the_message_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'e2llm\[train\]'"):
        open_source(SourceSettings(dataset="squad"))
