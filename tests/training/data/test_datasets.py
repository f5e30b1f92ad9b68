"""Ready loaders: rows in the shape that the hub gives become records."""

import json
import zipfile
from dataclasses import replace

import pytest

from e2llm.training.data import DATASETS, QuestionRecord, SourceSettings, open_source
from e2llm.training.data.datasets import find_dataset
from e2llm.training.data.records import parse

DOCUMENT = {
    "id": "d1",
    "kind": "movie",
    "text": "INT. HALL. Ann meets Bo.",
    "summary": {"text": "Ann meets Bo.", "title": "Ann", "tokens": ["Ann"]},
}
ROWS = {
    "qmsum": {
        "id": "tr-sq-1",
        "pid": "tr-sq-1_0",
        "input": "What was said?\n\nA: Hello.\n\nB: Goodbye.",
        "output": "Greetings.",
    },
    "govreport": {"report": "A long report.", "summary": "Short."},
    "quality": {
        "article": "Ann met Bo.",
        "question": "Whom did Ann meet?",
        "options": ["Al ", "Bo", "Cy", "Di"],
        "answer": 1,
        "hard": False,
    },
    "narrativeqa": {
        "document": DOCUMENT,
        "question": {"text": "Who?", "tokens": ["Who"]},
        "answers": [{"text": "Ann"}, {"text": "She"}],
    },
    "triviaqa": {
        "question": "Which bridge?",
        "question_id": "tc_1",
        "entity_pages": {"title": ["A", "B"], "wiki_context": ["Page one. ", ""]},
        "search_results": {"rank": [0], "search_context": ["Page two."]},
        "answer": {
            "value": "Old Bridge",
            "aliases": ["Old Bridge", "The Bridge"],
            "normalized_value": "old bridge",
        },
    },
    "squad": {
        "id": "s1",
        "title": "Town",
        "context": "Ann met Bo.",
        "question": "Who?",
        "answers": {"text": ["Ann", "Ann"], "answer_start": [0, 0]},
    },
    "hotpotqa": {
        "id": "h1",
        "question": "Where?",
        "answer": "town",
        "context": {"title": ["Ann", "Bo"], "sentences": [["Ann lives", " in town."], ["Bo too."]]},
    },
}
ROWS["narrativeqa_summaries"] = ROWS["narrativeqa"]
RECORDS = {
    "qmsum": ("tr-sq-1", "A: Hello.\n\nB: Goodbye.", "What was said?", ("Greetings.",)),
    "govreport": ("0", "A long report.", "Summarize the report.", ("Short.",)),
    "quality": ("0", "Ann met Bo.", "Whom did Ann meet?\n(A) Al\n(B) Bo\n(C) Cy\n(D) Di", ("Bo",)),
    "narrativeqa": ("0", "INT. HALL. Ann meets Bo.", "Who?", ("Ann", "She")),
    "narrativeqa_summaries": ("0", "Ann meets Bo.", "Who?", ("Ann", "She")),
    "triviaqa": ("tc_1", "Page one.\n\nPage two.", "Which bridge?", ("Old Bridge", "The Bridge")),
    "squad": ("s1", "Ann met Bo.", "Who?", ("Ann",)),
    "hotpotqa": ("h1", "Ann\nAnn lives in town.\n\nBo\nBo too.", "Where?", ("town",)),
}


@pytest.mark.parametrize("name", DATASETS)
def test_a_row_of_every_ready_loader_becomes_its_record(name):
    assert parse(DATASETS[name].read(ROWS[name]), name, 0, name) == QuestionRecord(
        *RECORDS[name], name
    )


@pytest.mark.parametrize("name", DATASETS)
def test_every_ready_loader_reads_the_rows_that_datasets_gives(
    name, tmp_path, monkeypatch, datasets
):
    lines = (json.dumps(ROWS[name]) + "\n") * 3
    ready = DATASETS[name]
    if ready.files:
        monkeypatch.setattr(
            datasets.config, "HF_HUB_OFFLINE", False
        )  # in which it opens no zip, though this one is here
        with zipfile.ZipFile(tmp_path / f"{ready.config}.zip", "w") as packed:
            packed.writestr(f"{ready.config}/validation.jsonl", lines)
        ready = replace(
            ready,
            files=ready.files.replace(
                "https://huggingface.co/datasets/{hub}/resolve/{revision}", str(tmp_path)
            ),
        )
    else:
        folder = tmp_path / "hub"
        folder.mkdir()
        datasets.Dataset.from_list([ROWS[name]] * 3).to_parquet(
            folder / "validation-00000-of-00001.parquet"
        )
        ready = replace(ready, hub=str(folder), config=None)
    monkeypatch.setitem(DATASETS, name, ready)
    source = open_source(SourceSettings(dataset=name, split="validation"))
    assert (len(source), source.kind, source.name) == (3, "question", name)
    record = source[1]
    expected = RECORDS[name]
    assert (record.context, record.question, record.answers) == expected[1:]
    assert record.id == (expected[0] if expected[0] != "0" else "1")
    assert len({source.document(index) for index in range(3)}) == 1


def test_a_ready_loader_is_found_by_its_own_name_and_by_the_hubs():
    assert all(find_dataset(name) is dataset for name, dataset in DATASETS.items())
    assert find_dataset("rajpurkar/squad") is DATASETS["squad"]
    assert find_dataset("deepmind/narrativeqa") is DATASETS["narrativeqa"]
    assert find_dataset("other/squad") is None


def test_rows_that_have_lost_a_column_are_refused_with_those_that_are_there(
    tmp_path, monkeypatch, datasets
):
    (tmp_path / "hub").mkdir()
    datasets.Dataset.from_list([{"text": "x", "answers": {"text": ["y"]}}]).to_parquet(
        tmp_path / "hub" / "train.parquet"
    )
    monkeypatch.setitem(DATASETS, "squad", replace(DATASETS["squad"], hub=str(tmp_path / "hub")))
    with pytest.raises(
        ValueError,
        match=r"row 0 has not the columns that are read \('id'\), but text, answers\.text; name",
    ):
        open_source(SourceSettings(dataset="squad"))
