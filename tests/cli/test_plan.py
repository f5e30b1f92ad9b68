"""`--budget`, `--whole` and `--plan`: what the decoder is given for a question."""

import re

import pytest

from tests.cli.asking import Q
from tests.cli.running import FEW, run, write
from tests.tiny import TEXT


@pytest.fixture
def long(tmp_path):
    return write(tmp_path / "long.txt", "\n".join(f"{TEXT} Part {n}." for n in range(12)))


def test_a_budget_is_kept_to_and_its_plan_printed(trained, long):
    asked = run("ask", long, "-m", trained, *Q, *FEW, "--budget", 250, "--plan")
    assert "of 250 decoder positions in all" in asked.said
    assert "chunks are left out" in asked.said
    answered = run("ask", long, "-m", trained, *Q, *FEW, "--budget", 250, "--json").json
    assert answered["usage"]["positions"] <= 250
    assert {row["form"] for row in answered["plan"]} == {"text"}
    assert len(answered["plan"]) == len(answered["expanded"])


def test_the_whole_is_read_as_soft_tokens(trained, long):
    answered = run("ask", long, "-m", trained, *Q, *FEW, "--budget", 250, "--whole", "--json").json
    assert {row["form"] for row in answered["plan"]} == {"soft"}
    assert answered["expanded"] == []


def test_a_stored_document_shows_its_plan_without_an_answer(trained, long):
    run("compress", long, "-m", trained)
    shown = run("show", "long.txt", "--plan", "Who?", "-m", trained, "--budget", 250)
    assert shown.stdout.splitlines()[-1].endswith("of 250 decoder positions in all")
    rows = run("show", "long.txt", "--plan", "Who?", "-m", trained, "--budget", 250, "--json").json
    assert all(row["document"] == "long.txt" for row in rows)


@pytest.mark.parametrize("wanted", [("--budget", 0), ("--budget", 5), ("--budget", 10**9)])
def test_a_budget_that_cannot_be_kept_is_one_line(trained, long, wanted):
    asked = run("ask", long, "-m", trained, *Q, *FEW, *wanted)
    assert asked.code == 2
    assert re.search("`(--)?budget`", asked.stderr.splitlines()[-1])
    assert "Traceback" not in asked.stderr


def test_the_whole_beside_expand_is_refused(trained, long):
    asked = run("ask", long, "-m", trained, *Q, *FEW, "--whole", "--expand", 2)
    assert "leave `--expand` out" in asked.mistake


def test_a_follow_up_question_sees_the_one_before(trained, long):
    asked = run("ask", long, "-m", trained, *FEW, "--budget", 250, stdin="Who?\nAnd when?\n\n")
    positions = [
        int(line.split(" decoder positions")[0].rsplit(" ", 1)[-1].replace(",", ""))
        for line in asked.said.splitlines()
        if " decoder positions" in line
    ]
    assert len(positions) == 2
    assert positions[1] > positions[0]
