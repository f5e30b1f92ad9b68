"""Sources: every form of data as one sequence, read as it is asked for."""

import pickle

import numpy as np
import pytest

from e2llm.errors import UserError
from e2llm.training.data import QuestionRecord, SourceSettings, TextRecord, open_source
from tests.training.data.opening import refusal
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
