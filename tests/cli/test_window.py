"""`e2llm ask` and the decoder's window: what does not fit is told beforehand."""

import re

import pytest

from tests.cli.asking import Q, documents_of
from tests.cli.running import FEW, run, stored_files, write
from tests.tiny import TEXT


def test_no_ratio_picks_one_that_fits_and_says_so(trained, tmp_path):
    long = write(tmp_path / "long.txt", TEXT * 24)
    result = run("ask", long, "-m", trained, *Q, *FEW, "--expand", 0, "--json")
    (document,) = documents_of(result)
    assert document["ratio_asked"] > 8
    words = (
        "At the pair's own ratio of 8 this would not fit the decoder's window; reading at "
        f"{document['ratio_asked']:g}."
    )
    assert result.said.startswith(words)
    assert result.json["usage"]["n_soft"] == document["n_soft"]


@pytest.mark.parametrize("expand", [0, 2])
def test_a_ratio_that_does_not_fit_is_refused_before_anything_is_read_with_one_that_does(
    trained, tmp_path, home, expand
):
    long = write(tmp_path / "long.txt", TEXT * 24)
    message = run("ask", long, "-m", trained, *Q, *FEW, "--expand", expand, "--ratio", 4).mistake
    assert "`ratio` (=4.0)" in message
    ratio = re.search(r"use a ratio of ([\w.]+)\.$", message)[1]
    assert not home.exists()
    assert run("ask", long, "-m", trained, *Q, *FEW, "--expand", expand, "--ratio", ratio).code == 0


def test_what_was_compressed_before_counts_before_the_rest_is_read(trained, town, tmp_path, home):
    for name, n_times in (("fine", 3), ("finer", 5)):
        path = write(tmp_path / f"{name}.txt", TEXT * n_times)
        run("compress", path, "-m", trained, "--ratio", 2, "--name", name)
    before = stored_files(home)
    long = write(tmp_path / "long.txt", TEXT * 7)
    message = run("ask", "fine", long, "-m", trained, *Q, *FEW, "--expand", 4, "--ratio", 8).mistake
    assert re.search(
        r"beside the \d+ soft tokens of what was compressed before; use a ratio of 16\.$", message
    )
    message = run("ask", "finer", town, "-m", trained, *Q, *FEW, "--expand", 4).mistake
    assert "soft tokens of what was compressed before" in message
    assert stored_files(home) == before
    assert "reading at 16" in run("ask", "fine", long, "-m", trained, *Q, *FEW, "--expand", 0).said


def test_what_fits_at_no_ratio_is_refused_before_anything_is_read(trained, tmp_path, home):
    long = write(tmp_path / "long.txt", TEXT * 100)
    message = run("ask", long, "-m", trained, *Q, *FEW, "--expand", 4).mistake
    assert "even one soft token per chunk needs more" in message
    assert not home.exists()


def test_chunks_to_expand_make_room_where_the_window_is_small(trained, town):
    result = run("ask", town, "-m", trained, *Q, *FEW, "--expand", 100, "--json")
    assert 0 < len(result.json["expanded"]) < 100
    assert result.json["usage"]["n_soft"] == documents_of(result)[0]["n_soft"]


def test_a_question_longer_than_the_window_is_refused_before_anything_is_read(
    pair, trained, town, home
):
    for folder in (pair, trained):
        message = run("ask", town, "-m", folder, *FEW, "-q", "Who? " * 600).mistake
        assert "shorten the question" in message
    assert not home.exists()


def test_a_plan_by_budget_fits_whatever_the_length(trained, tmp_path):
    long = write(tmp_path / "long.txt", TEXT * 100)
    answered = run("ask", long, "-m", trained, *Q, *FEW, "--json").json
    assert answered["usage"]["positions"] + 4 <= 512
