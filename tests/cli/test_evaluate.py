"""`e2llm evaluate` and `e2llm report`: from a pair to a page."""

import pytest

from tests.benchmarks.small import make_data
from tests.cli.running import run


@pytest.fixture
def data(tmp_path):
    return make_data(tmp_path / "data", ("squad", "qmsum")).folder


def test_evaluate_then_report(trained, data, tmp_path):
    methods = ("--methods", "no-document,e2llm:ratio=16:expand=0")
    measured = ("--benchmarks", "squad", "--data", data)
    arguments = ("--model", trained, *methods, *measured, "--dtype", "float32")
    first = run("evaluate", *arguments, "-o", "results")
    assert "8 cells measured, 0 could not run." in first.said
    assert first.stdout == ""
    again = run("evaluate", *arguments, "-o", "results")
    assert "0 cells measured, 0 could not run, 8 were there." in again.said
    assert "index.html" in run("report", "results", "-o", "report").said
    assert "e2llm:ratio=16:expand=0" in (tmp_path / "report" / "index.html").read_text()


def test_a_benchmark_without_data_is_named_and_ends_with_code_3(trained, data):
    measured = ("--methods", "no-document", "--benchmarks", "quality,qmsum", "--data", data)
    result = run("evaluate", "--model", trained, *measured, "-o", "results")
    assert result.code == 3
    assert "quality could not be had: no folder quality with dev.jsonl" in result.stderr
    assert "cells measured" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--methods", "e2lm", "--benchmarks", "cost"), "did you mean 'e2llm'?"),
        (("--methods", "e2llm", "--benchmarks", "needl"), "did you mean 'needle'?"),
        (("--methods", "e2llm", "--benchmarks", "cost", "--scale", "large"), "`scale` (='large')"),
        (("--methods", "e2llm", "--benchmarks", "cost", "--samples", "0"), "`samples` (=0)"),
        (("--benchmarks", "cost", "--data", "nowhere"), "`data` (='nowhere')"),
    ],
)
def test_mistakes_are_told_in_one_line(trained, arguments, words):
    assert words in run("evaluate", "--model", trained, "-o", "results", *arguments).mistake


def test_a_report_of_nothing_is_a_mistake(tmp_path):
    assert "holds no results" in run("report", "nowhere", "-o", "report").mistake
