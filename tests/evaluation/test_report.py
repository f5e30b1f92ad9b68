"""The report: made of result files alone, the same each time, honest about what is not there."""

import re
import sys

import pytest

from e2llm.errors import MissingPackageError, UserError
from e2llm.evaluation.report import make_report
from tests.evaluation.made import RUN, of, write


def test_the_report_holds_every_form_and_the_page_needs_no_other_file(small, tmp_path):
    write(tmp_path / "results", small.cells)
    written = make_report([tmp_path / "results"], tmp_path / "report")
    names = {path.name for path in written}
    assert {
        "squad.md",
        "squad.tex",
        "squad.csv",
        "needle-map.png",
        "needle-map.svg",
        "squad-length.svg",
        "cost.png",
        "report.md",
        "index.html",
    } <= names
    assert all(path.stat().st_size for path in written)
    page = (tmp_path / "report" / "index.html").read_text()
    assert "quality could not be had: no folder quality" in page
    assert "could not run" in page
    assert not re.findall(r'(?:src|href)="(?!#)(?!http://www\.w3\.org)(?!data:)[^"]*"', page)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)


def test_the_same_results_give_the_same_report(small, tmp_path):
    write(tmp_path / "results", of(small, "needle"))
    for name in ("one", "two"):
        make_report([tmp_path / "results"], tmp_path / name)
    for path in (tmp_path / "one").rglob("*.*"):
        assert (
            path.read_bytes()
            == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()
        ), path.name


def test_a_method_to_compare_that_is_not_there_is_told(small, tmp_path):
    write(tmp_path / "results", small.cells)
    with pytest.raises(UserError, match=r"`compare` \(='e2lm'\).*e2llm"):
        make_report([tmp_path / "results"], tmp_path / "report", compare="e2lm")


def test_what_two_folders_of_one_model_both_hold_counts_once(small, tmp_path):
    for name in ("one", "two"):
        write(tmp_path / name, of(small, "squad"))
    make_report([tmp_path / "one", tmp_path / "two"], tmp_path / "report")
    assert "| E2LLM, default |  | 2 |" in (tmp_path / "report" / "tables" / "squad.md").read_text()


def test_a_cell_that_was_measured_stands_before_one_that_could_not_run(small, tmp_path):
    skipped = [{**cell, "skipped": "time: too long"} for cell in of(small, "squad")]
    write(tmp_path / "fast", of(small, "squad"))
    write(tmp_path / "slow", skipped)
    make_report([tmp_path / "fast", tmp_path / "slow"], tmp_path / "report")
    assert "| E2LLM, default |  | 2 |" in (tmp_path / "report" / "tables" / "squad.md").read_text()


def test_a_folder_whose_one_file_was_cut_off_in_its_first_line_adds_nothing(small, tmp_path):
    write(tmp_path / "whole", of(small, "squad"))
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "20260101.jsonl").write_text('{"kind": "run", "mod')
    make_report([tmp_path / "cut", tmp_path / "whole"], tmp_path / "report")
    assert "| E2LLM, default |  | 2 |" in (tmp_path / "report" / "tables" / "squad.md").read_text()


def test_two_pairs_of_one_name_are_two(small, tmp_path):
    for digest in ("a" * 64, "b" * 64):
        write(tmp_path / digest, of(small, "squad"), RUN | {"digest": digest})
    make_report([tmp_path / ("a" * 64), tmp_path / ("b" * 64)], tmp_path / "report")
    text = (tmp_path / "report" / "tables" / "squad.md").read_text()
    assert all(f"| E2LLM, default @ smol {mark} |  | 2 |" in text for mark in ("aaaaaa", "bbbbbb"))


def test_several_models_stand_in_one_report(small, tmp_path):
    for model in ("smol", "large"):
        worth = 1 if model == "smol" else 2
        cells = [
            {**cell, "scores": {"f1": worth * cell["scores"]["f1"]}} if "scores" in cell else cell
            for cell in of(small, "squad")
        ]
        write(tmp_path / model, cells, RUN | {"model": model, "digest": model})
    make_report([tmp_path / "smol", tmp_path / "large"], tmp_path / "report")
    text = (tmp_path / "report" / "tables" / "squad.md").read_text()
    assert "| E2LLM, default @ smol |" in text
    assert "| E2LLM, default @ large |" in text
    assert text.count("| 0.75 |") == 2  # each against floor and ceiling of its own model


def test_results_without_a_single_score_make_a_report_all_the_same(small, tmp_path):
    write(tmp_path / "results", [cell for cell in small.cells if "skipped" in cell])
    make_report([tmp_path / "results"], tmp_path / "report")
    assert "1 of 1: window" in (tmp_path / "report" / "report.md").read_text()


def test_figures_without_their_package_say_how_to_get_it(small, tmp_path, monkeypatch):
    write(tmp_path / "results", small.cells)
    monkeypatch.delitem(sys.modules, "e2llm.evaluation.figures", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackageError, match=r"matplotlib: pip install 'e2llm\[eval\]'"):
        make_report([tmp_path / "results"], tmp_path / "report")


def test_a_folder_that_is_none_is_told(tmp_path):
    with pytest.raises(UserError, match="no results"):
        make_report([tmp_path / "nowhere"], tmp_path / "report")
