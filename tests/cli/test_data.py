"""`e2llm data`: what a data set holds, what is wrong with it, and what a teacher answers."""

import json

import pytest

from e2llm import E2LLM
from e2llm.methods.bounds.full_text import BaseFullText
from e2llm.model.checkpoint import load_processor
from e2llm.model.configuration import E2LLMConfig
from tests.cli.running import FEW, run
from tests.training.data.writing import questions, shared, texts, write_lines


def test_good_data_is_summed_up_with_counts_lengths_and_samples(pair, tmp_path):
    folder = shared(tmp_path / "town")
    result = run("data", "check", folder, "-m", pair)
    assert result.said == ""
    head, documents, asked, answers, *samples = result.stdout.splitlines()
    assert head == "town: 12 question records, 4 documents, 0 malformed"
    assert documents.split()[0] == "documents"
    assert documents.endswith("0 longer than 8,192")
    assert asked.split()[0] == "questions"
    assert answers.endswith("0 longer than 8,192")
    assert len(samples) == 2
    assert all(" -> answer " in sample and " | Shared document " in sample for sample in samples)


def test_lengths_are_in_the_decoders_tokens_and_every_document_counts_once(pair, tmp_path):
    path = write_lines(tmp_path / "town.jsonl.gz", questions())
    processor = load_processor(str(pair), E2LLMConfig.from_pretrained(pair))
    facts = run("data", "check", path, "-m", pair, "--max-tokens", 4, "--json").json
    (source,) = facts["sources"]
    lengths = {
        "documents": [
            len(processor.text_ids(text)) for text in {record["context"] for record in questions()}
        ],
        "questions": [len(processor.text_ids(record["question"])) for record in questions()],
        "answers": [
            len(processor.text_ids(answer))
            for record in questions()
            for answer in record["answers"]
        ],
    }
    assert {what: (tokens["min"], tokens["max"]) for what, tokens in source["tokens"].items()} == {
        what: (min(tokens), max(tokens)) for what, tokens in lengths.items()
    }
    assert source["n_truncated"] == {
        what: sum(n > 4 for n in lengths[what]) for what in ("documents", "answers")
    }
    assert (
        source["name"],
        source["kind"],
        source["n_records"],
        source["n_documents"],
        source["n_bad"],
    ) == ("town", "question", 12, 4, 0)


def test_several_sources_are_told_apart_in_one_object(pair, tmp_path):
    paths = [
        write_lines(tmp_path / "a.jsonl", texts()),
        write_lines(tmp_path / "b.jsonl", questions()),
    ]
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "one.txt").write_text("One [document].")
    facts = run(
        "data", "check", *paths, tmp_path / "c", "-m", pair, "--limit", 3, "--samples", 1, "--json"
    ).json
    assert [
        (source["name"], source["kind"], source["n_records"]) for source in facts["sources"]
    ] == [
        ("a", "text", 3),
        ("b", "question", 3),
        ("c", "text", 1),
    ]
    assert [len(source["samples"]) for source in facts["sources"]] == [1, 1, 1]
    assert facts["sources"][2]["samples"] == ["one.txt: One [document]."]


def test_a_sample_is_one_line_however_long_the_text(pair, tmp_path):
    path = write_lines(tmp_path / "a.jsonl", [{"text": "river\nbridge " * 5000}])
    (sample,) = run("data", "check", path, "-m", pair, "--json").json["sources"][0]["samples"]
    assert len(sample) < 200
    assert sample.endswith(" ...")


def test_bad_records_are_refused_each_in_a_line_with_its_place_and_the_count(pair, tmp_path):
    bad = ["{", {"text": ""}, {"text": 3}, questions(1)[0], {"id": "x"}, "[]", '{"text": "cut']
    path = write_lines(tmp_path / "a.jsonl.gz", [*texts(3), *bad])
    result = run("data", "check", path, "-m", pair)
    assert result.code == 2
    *errors, last = result.stderr.splitlines()
    assert [error.split(f"`{path}`, line ")[1].split()[0].rstrip(":") for error in errors] == [
        "4",
        "5",
        "6",
        "7",
        "8",
    ]
    assert last == "e2llm: 7 of 10 records are empty or malformed; mend them or leave them out."
    assert result.stdout.startswith("a: 10 text records, 3 documents, 7 malformed\n")


def test_a_file_of_nothing_but_bad_lines_is_refused_too(pair, tmp_path):
    result = run("data", "check", write_lines(tmp_path / "a.jsonl", ["{", "}"]), "-m", pair)
    assert (result.code, result.stderr.count("\n")) == (2, 3)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["missing.jsonl"], "`path` (='missing.jsonl') does not exist"),
        (["some/where/else"], "`path` (='some/where/else') does not exist"),
        (["empty.jsonl"], "holds no records"),
        (["broken.jsonl.gz"], "is truncated or damaged"),
        (["squat"], "did you mean 'squad'?"),
        (["town", "--split", "dev"], "holds a file of: train."),
        (["town", "--limit", 0], "`limit` (=0)"),
        (["town", "--samples", -1], "`--samples` (=-1)"),
        (["town", "--max-tokens", 0], "`--max-tokens` (=0)"),
        (["town", "-m", "town"], "holds neither a processor_config.json nor"),
        (["town", "-m", "nobody/pair"], "`--model` (='nobody/pair') is no pair"),
    ],
)
def test_what_cannot_be_checked_is_an_error_of_one_line(pair, tmp_path, argv, words):
    shared(tmp_path / "town")
    write_lines(tmp_path / "empty.jsonl", [])
    (tmp_path / "broken.jsonl.gz").write_bytes(b"\x1f\x8bno gzip")
    assert words in run("data", "check", *([] if "-m" in argv else ["-m", pair]), *argv).mistake


def test_a_data_set_of_the_hub_that_cannot_be_reached_is_a_failure_of_one_line(pair):
    pytest.importorskip("datasets")
    assert "cannot be loaded" in run("data", "check", "nobody/nothing", "-m", pair).failure


# Answers of a teacher


def test_a_teacher_answers_questions_as_the_decoder_does_that_reads_the_text(pair, tmp_path):
    path = write_lines(tmp_path / "town.jsonl", questions(3))
    result = run("data", "answer", path, "-m", pair, "-o", "taught.jsonl", *FEW)
    assert result.said == "taught.jsonl: 3 answered.\n"
    taught = [json.loads(line) for line in (tmp_path / "taught.jsonl").read_text().splitlines()]
    fields = ("id", "context", "question", "source")
    assert [[record[name] for name in fields] for record in taught] == [
        [record[name] for name in fields] for record in questions(3)
    ]
    ceiling = BaseFullText(E2LLM.from_pretrained(str(pair), dtype="float32"))
    for record in taught:
        assert record["answers"] == [
            ceiling.answer(ceiling.read(record["context"]), record["question"], 4).text
        ]
    assert run("data", "check", "taught.jsonl", "-m", pair).said == ""


def test_answering_goes_on_where_it_was_cut(pair, tmp_path):
    path = write_lines(tmp_path / "town.jsonl", questions(3))
    run("data", "answer", path, "-m", pair, "-o", "taught.jsonl", *FEW)
    taught = tmp_path / "taught.jsonl"
    whole = taught.read_bytes()
    taught.write_bytes(whole[: whole.index(b"\n") + 40])
    result = run("data", "answer", path, "-m", pair, "-o", "taught.jsonl", *FEW)
    assert result.said == "taught.jsonl: 2 answered, 1 kept.\n"
    assert taught.read_bytes() == whole


def test_a_document_beyond_the_window_is_left_out_and_counted(pair, tmp_path):
    path = write_lines(
        tmp_path / "town.jsonl", [questions(1)[0] | {"context": "river " * 9000}, *questions(2)]
    )
    said = run("data", "answer", path, "-m", pair, "-o", "taught.jsonl", *FEW).said
    assert said == "taught.jsonl: 2 answered, 1 too long.\n"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["town.jsonl", "-o", "taught.json"], "must end in .jsonl"),
        (["town.jsonl", "-o", "other.jsonl"], "holds something other than answered records"),
        (["texts.jsonl", "-o", "taught.jsonl"], "holds texts without questions"),
        (["town.jsonl", "-o", "taught.jsonl", "--max-new-tokens", 0], "`--max-new-tokens` (=0)"),
    ],
)
def test_what_cannot_be_answered_is_an_error_of_one_line(pair, tmp_path, argv, words):
    write_lines(tmp_path / "town.jsonl", questions(1))
    write_lines(tmp_path / "texts.jsonl", texts(1))
    (tmp_path / "other.jsonl").write_text("[1]\n")
    assert words in run("data", "answer", *argv, "-m", pair).mistake
