"""Records: what is read as one, and what is refused."""

import subprocess
import sys

import pytest

from e2llm.errors import UserError
from e2llm.training.data import QuestionRecord, TextRecord
from e2llm.training.data.records import parse

WHERE = "`a.jsonl`, line 3"
QUESTION = {
    "id": "q",
    "context": "Ann met Bo.",
    "question": "Whom?",
    "answers": ["Bo"],
    "source": "town",
}


def test_a_text_is_read_as_it_stands():
    fields = {"id": "a", "text": " Two\nlines. ", "source": "town", "split": "train"}
    assert parse(fields, WHERE, 2, "other") == TextRecord("a", " Two\nlines. ", "town")


@pytest.mark.parametrize("answers", ["Bo", ["Bo"], ["Bo", "Bob"]])
def test_answers_are_a_text_or_a_list_of_texts(answers):
    record = parse(QUESTION | {"answers": answers}, WHERE, 2, "other")
    assert record == QuestionRecord(
        "q",
        "Ann met Bo.",
        "Whom?",
        tuple(answers) if isinstance(answers, list) else (answers,),
        "town",
    )


def test_a_record_without_id_and_source_gets_its_place_and_the_name_of_its_source():
    assert parse({"text": "A."}, WHERE, 2, "town") == TextRecord("2", "A.", "town")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "`text` is missing, and the fields there are none"),
        ({"id": "a", "body": "x"}, "`text` is missing, and the fields there are id, body"),
        ({"text": ""}, "`text` is empty or blank"),
        ({"text": 3}, "`text` must be a text, and a int is given"),
        ({"text": "half \ud800"}, "half a character"),
        (QUESTION | {"question": " \n"}, "`question` is empty or blank"),
        (QUESTION | {"context": ""}, "`context` is empty or blank"),
        (QUESTION | {"context": None}, "`context` is missing"),
        (QUESTION | {"answers": None}, "`answers` is missing"),
        (QUESTION | {"answers": []}, "`answers` is empty; give at least one"),
        (QUESTION | {"answers": ["Bo", " "]}, "`answers` is empty or blank"),
        (QUESTION | {"answers": [1]}, "`answers` must be a text, and a int is given"),
        (QUESTION | {"answers": {"text": ["Bo"]}}, "`answers` must be a text, and a dict is given"),
    ],
)
def test_what_is_malformed_is_refused_with_its_place_and_field_in_one_line(fields, words):
    with pytest.raises(UserError) as caught:
        parse(fields, WHERE, 2, "town")
    assert str(caught.value).startswith(WHERE)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_data_side_imports_no_torch():
    code = (
        "import sys, e2llm.training.data; print([name for name in ('torch', 'transformers', "
        "'datasets') if name in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )
