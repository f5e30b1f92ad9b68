"""JSON Lines as a source: gzip, blank and bad lines, shared documents."""

import gzip
import json
import resource

import pytest

from e2llm.errors import E2LLMError, UserError
from e2llm.training.data import SourceSettings, open_source
from tests.training.data.opening import refusal
from tests.training.data.writing import questions, shared, texts, write_lines


def test_gzip_is_unpacked_once(tmp_path, home, monkeypatch):
    settings = SourceSettings(path=str(write_lines(tmp_path / "town.jsonl.gz", questions())))
    first = list(open_source(settings))
    (copy,) = (home / "data").iterdir()
    monkeypatch.setattr(gzip, "open", None)
    assert list(open_source(settings)) == first
    assert list((home / "data").iterdir()) == [copy]


def test_blank_lines_are_no_records_and_still_count_as_lines(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", ["", {"text": "A."}, "  ", {"text": ""}])
    source = open_source(SourceSettings(path=str(path)))
    assert len(source) == 2
    with pytest.raises(UserError, match=r"a\.jsonl`, line 4: `text` is empty"):
        source[1]


def test_a_byte_order_mark_and_a_missing_last_line_feed_do_no_harm(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "A."}\r\n{"text": "B."}')
    assert [record.text for record in open_source(SourceSettings(path=str(path)))] == ["A.", "B."]


def test_questions_find_their_documents_in_any_order_beyond_those_kept(tmp_path):
    source = open_source(SourceSettings(path=str(shared(tmp_path / "town", n=60, per_document=1))))
    for index in [*range(60), *source.permutation(0, 0)]:
        assert source[index].context == f"Shared document {index}."
    assert len(source._documents._recent) == 16


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"text": "cut', "is no JSON (Unterminated string"),
        ("[1]", "is a JSON list"),
        ('{"text": null}', "`text` is missing"),
        (json.dumps(questions(1)[0]), "is a question record among text records"),
        ("[" * 100_000, "is no JSON"),
    ],
)
def test_a_bad_line_is_named_with_its_file_and_number_when_it_is_read(tmp_path, line, words):
    path = write_lines(tmp_path / "a.jsonl", [*texts(2), line, *texts(1)])
    source = open_source(SourceSettings(path=str(path)), check=False)
    assert [source[index].text for index in (0, 1, 3)] == [
        texts(2)[index]["text"] for index in (0, 1, 0)
    ]
    with pytest.raises(UserError) as caught:
        source[2]
    assert f"`{path}`, line 3" in str(caught.value)
    assert words in str(caught.value)


def test_opening_refuses_a_line_that_does_not_look_like_an_object_however_deep(tmp_path):
    path = write_lines(tmp_path / "a.jsonl.gz", [*texts(50), '{"text": "cut', *texts(50)])
    assert f"`{path}`, line 51 is no JSON" in refusal(SourceSettings(path=str(path)))


def test_bytes_that_are_not_utf8_are_refused_with_their_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "A."}\n{"text": "\xff"}\n')
    with pytest.raises(UserError, match="line 2 is no JSON"):
        list(open_source(SourceSettings(path=str(path))))


def test_a_shared_document_that_is_not_there_is_refused_with_the_line_that_names_it(tmp_path):
    folder = shared(tmp_path / "town")
    write_lines(
        folder / "train.jsonl.gz", [questions(1)[0] | {"context": None, "context_id": "d99"}]
    )
    assert "line 1: `context_id` (='d99') names no document of" in refusal(
        SourceSettings(path=str(folder))
    )
    (folder / "docs.jsonl.gz").unlink()
    assert "has no docs.jsonl.gz" in refusal(SourceSettings(path=str(folder)))


@pytest.mark.parametrize(
    ("documents", "words"),
    [
        (
            [{"id": "d0", "text": "A."}, {"id": "d0", "text": "B."}],
            "line 2: `id` (='d0') stands there a second time",
        ),
        ([{"text": "A."}], "line 1 is no document"),
        ([{"id": "d0", "text": " "}], "line 1: `text` is empty"),
    ],
)
def test_bad_shared_documents_are_refused_with_their_own_line(tmp_path, documents, words):
    folder = shared(tmp_path / "town")
    write_lines(folder / "docs.jsonl.gz", documents)
    message = refusal(SourceSettings(path=str(folder)))
    assert "docs.jsonl.gz" in message
    assert words in message


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-20],
        lambda data: data[:40] + b"\0\0\0\0" + data[44:],
        lambda data: data[:2] + b"no gzip",
    ],
)
def test_a_damaged_gzip_file_is_refused_and_leaves_nothing_behind(tmp_path, home, damage):
    path = write_lines(tmp_path / "a.jsonl.gz", texts(200))
    path.write_bytes(damage(path.read_bytes()))
    assert f"`{path}` is truncated or damaged" in refusal(SourceSettings(path=str(path)))
    assert list((home / "data").iterdir()) == []


def test_a_full_disk_while_unpacking_is_a_failure_of_one_line_and_leaves_nothing_behind(
    tmp_path, home
):
    path = write_lines(tmp_path / "a.jsonl.gz", texts(200))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(
            E2LLMError, match=r"cannot be unpacked into .*; free some space"
        ) as caught:
            open_source(SourceSettings(path=str(path)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not isinstance(caught.value, UserError)
    assert list((home / "data").iterdir()) == []
    assert len(open_source(SourceSettings(path=str(path)))) == 200
