"""Sources: every form of data as one sequence, read as it is asked for."""

import gzip
import json
import pickle
import resource
import sys

import numpy as np
import pytest

from e2llm.errors import E2LLMError, MissingPackageError, UserError
from e2llm.training.data import QuestionRecord, SourceSettings, TextRecord, open_source
from tests.training.data.writing import questions, shared, texts, write_lines


def lines_source(tmp_path, suffix):
    return SourceSettings(path=str(write_lines(tmp_path / f"town{suffix}", questions())))


def split_source(tmp_path, suffix):
    write_lines(tmp_path / "town" / f"dev{suffix}", texts())
    return SourceSettings(path=str(tmp_path / "town"), split="dev")


def shared_source(tmp_path, suffix):
    return SourceSettings(path=str(shared(tmp_path / "town", suffix=suffix)))


def folder_source(tmp_path, suffix):
    for record in texts():
        path = tmp_path / "town" / record["id"][:2] / f"{record['id']}.{'md' if suffix else 'txt'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(record["text"])
    return SourceSettings(path=str(tmp_path / "town"))


def hub_source(tmp_path, suffix):
    write_lines(tmp_path / "hub" / "train.jsonl", questions())
    return SourceSettings(dataset=str(tmp_path / "hub"))


FORMS = [lines_source, split_source, shared_source, folder_source, hub_source]


@pytest.fixture(params=[form for form in FORMS], ids=lambda form: form.__name__)
def settings(request, tmp_path):
    """A source of 12 records, of each form."""
    if request.param is hub_source:
        request.getfixturevalue("datasets")
    return request.param(tmp_path, ".jsonl.gz")


def refusal(settings):
    with pytest.raises(UserError) as caught:
        open_source(settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_random_access_equals_sequential_reading(settings):
    source = open_source(settings)
    assert len(source) == 12
    in_order = list(source)
    order = source.permutation(seed=1, epoch=0)
    assert [source[index] for index in order] == [in_order[index] for index in order]


def test_every_record_is_of_the_sources_kind_and_bears_its_name(settings):
    source = open_source(settings)
    assert {isinstance(record, QuestionRecord) for record in source} == {source.kind == "question"}
    assert {isinstance(record, TextRecord) for record in source} == {source.kind == "text"}
    assert {record.source for record in source} == {"town"}


def test_an_index_out_of_range_is_an_index_error(settings):
    source = open_source(settings)
    for index in (-1, 12):
        with pytest.raises(IndexError):
            source[index]


def test_a_source_can_be_sent_to_another_process(settings):
    source = open_source(settings)
    assert list(pickle.loads(pickle.dumps(source))) == list(source)


def test_the_split_by_document_never_straddles_and_loses_nothing(settings):
    source = open_source(settings)
    for seed in range(5):
        training, validation = source.split(0.3, seed)
        assert {record.id for record in training} | {record.id for record in validation} == {
            record.id for record in source
        }
        assert len(training) + len(validation) == len(source)
        assert 0 < len(validation) <= 0.3 * len(source)
        assert not {training.document(i) for i in range(len(training))} & {
            validation.document(i) for i in range(len(validation))
        }
        if source.kind == "question":
            assert not {record.context for record in training} & {
                record.context for record in validation
            }


def test_the_records_about_a_document_are_all_those_of_the_part_and_no_others(settings):
    source = open_source(settings)
    for part in (source, *source.split(0.3, 0)):
        for index in range(len(part)):
            assert part.about(index) == [
                other for other in range(len(part)) if part.document(other) == part.document(index)
            ]


def test_the_same_seed_gives_the_same_split_and_the_same_order_and_another_seed_another(settings):
    one, two = open_source(settings), open_source(settings)
    assert [list(part) for part in one.split(0.3, seed=3)] == [
        list(part) for part in two.split(0.3, seed=3)
    ]
    assert len({tuple(record.id for record in one.split(0.3, seed)[1]) for seed in range(8)}) > 1
    assert np.array_equal(one.permutation(5, 2), two.permutation(5, 2))
    orders = {tuple(one.permutation(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}
    assert len(orders) == 4
    assert all(sorted(order) == list(range(12)) for order in orders)


def test_a_limit_takes_the_first_records(settings):
    source, whole = (
        open_source(SourceSettings(**vars(settings) | {"limit": 5, "weight": 2.0})),
        open_source(settings),
    )
    assert list(source) == list(whole)[:5]
    assert (source.kind, source.name, source.weight) == (whole.kind, whole.name, 2.0)


def test_a_name_takes_the_place_of_the_files(settings):
    assert open_source(SourceSettings(**vars(settings) | {"name": "village"})).name == "village"


@pytest.mark.parametrize("form", [lines_source, split_source, shared_source, folder_source])
def test_gzip_changes_nothing(form, tmp_path):
    plain, packed = (
        list(open_source(form(tmp_path / str(suffix), suffix)))
        for suffix in (".jsonl", ".jsonl.gz")
    )
    assert [vars(record) | {"id": ""} for record in plain] == [
        vars(record) | {"id": ""} for record in packed
    ]


def test_gzip_is_unpacked_once(tmp_path, home, monkeypatch):
    settings = lines_source(tmp_path, ".jsonl.gz")
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


def test_what_holds_no_records_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    for path in (
        write_lines(tmp_path / "a.jsonl", []),
        write_lines(tmp_path / "b.jsonl.gz", [""]),
        tmp_path / "empty",
    ):
        assert "holds no records" in refusal(SourceSettings(path=str(path)))


def test_a_path_that_is_not_there_or_no_data_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("x")
    assert "does not exist" in refusal(SourceSettings(path=str(tmp_path / "none.jsonl")))
    assert "must be a file of JSON Lines" in refusal(SourceSettings(path=str(tmp_path / "a.csv")))


def test_an_unknown_split_of_a_folder_names_those_there(tmp_path):
    write_lines(shared(tmp_path) / "dev.jsonl", texts())
    assert "holds a file of: dev, train." in refusal(
        SourceSettings(path=str(tmp_path), split="test")
    )


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


def test_a_file_in_a_folder_of_documents_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "a.txt").write_text("Fine.")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\xfa")
    source = open_source(SourceSettings(path=str(tmp_path)))
    assert source[0].text == "Fine."
    with pytest.raises(UserError, match=r"b\.txt"):
        source[1]


def test_one_document_alone_cannot_be_split(tmp_path):
    source = open_source(SourceSettings(path=str(write_lines(tmp_path / "a.jsonl", questions(3)))))
    with pytest.raises(UserError, match="holds one document alone"):
        source.split()


def test_the_smallest_document_is_set_aside_where_all_exceed_the_fraction(tmp_path):
    records = [*questions(3), *(record | {"context": "Another."} for record in questions(2))]
    training, validation = open_source(
        SourceSettings(path=str(write_lines(tmp_path / "a.jsonl", records)))
    ).split(0.05)
    assert (len(training), {record.context for record in validation}) == (3, {"Another."})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "give exactly one"),
        ({"path": "a.jsonl", "dataset": "squad"}, "give exactly one"),
        (
            {"path": "a.jsonl", "columns": {"text": "x"}},
            "`columns` (={'text': 'x'}) goes with `dataset`",
        ),
        ({"path": "a.jsonl", "config": "x"}, "`config` (='x') goes with `dataset`"),
        ({"path": "a.jsonl", "revision": "x"}, "`revision` (='x') goes with `dataset`"),
        ({"dataset": "a/b", "columns": {"txt": "x"}}, "did you mean 'text'?"),
        ({"path": "a.jsonl", "weight": 0}, "`weight` (=0) must be a number above 0"),
        ({"path": "a.jsonl", "weight": float("nan")}, "`weight` (=nan) must be"),
        ({"path": "a.jsonl", "limit": 0}, "`limit` (=0) must be"),
    ],
)
def test_settings_that_break_a_rule_are_refused_when_they_are_made(settings, words):
    with pytest.raises(UserError) as caught:
        SourceSettings(**settings)
    assert words in str(caught.value)


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
