"""Curves, drawn from the logs of a run."""

import json
import sys

import pytest

from e2llm.errors import MissingPackageError
from e2llm.training.curves import CURVES_FILE, plot
from e2llm.training.log import read_log

LINES = [
    {"step": 1, "stage": "read", "loss": 2.0, "reasoning": 2.0, "reasoning@4": 2.0},
    {"step": 2, "stage": "read", "loss": 1.5, "reasoning": 1.5, "reasoning@8": 1.5},
    {
        "step": 2,
        "stage": "read",
        "eval_reasoning@4": 1.8,
        "eval_reasoning@8": 1.9,
        "eval_decisive": 1.85,
    },
]


def write_log(folder, lines, end=""):
    folder.mkdir()
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + end)
    return folder / "log.jsonl"


def test_a_picture_is_drawn_of_every_stage_that_has_lines(tmp_path):
    pytest.importorskip("matplotlib")
    write_log(tmp_path / "1-align", LINES)
    one = plot(tmp_path).read_bytes()
    write_log(tmp_path / "2-read", LINES)
    write_log(tmp_path / "3-empty", [])
    assert plot(tmp_path) == tmp_path / CURVES_FILE
    two = (tmp_path / CURVES_FILE).read_bytes()
    assert one[:8] == two[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(two[20:24], "big") > 1.8 * int.from_bytes(
        one[20:24], "big"
    )  # twice as high


def test_a_run_without_lines_has_an_empty_picture(tmp_path):
    pytest.importorskip("matplotlib")
    assert plot(tmp_path).exists()


def test_a_line_that_was_cut_short_is_left_out(tmp_path):
    assert read_log(write_log(tmp_path / "1-read", LINES, end='{"step": 3, "sta')) == LINES


def test_without_matplotlib_the_way_to_install_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'e2llm\[train\]'"):
        plot(tmp_path)
