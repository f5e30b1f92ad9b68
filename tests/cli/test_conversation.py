"""`e2llm ask` without a question: what is typed is answered, line by line."""

import os
import pty
import re

import pytest

from tests.cli.running import FEW, read_terminal, run, start


def test_questions_are_read_line_by_line_until_a_blank_one(pair, town):
    result = run(
        "ask", town, "-m", pair, *FEW, stdin="Who approved it?\nWhat was built?\n\nNot asked\n"
    )
    alone = [
        run("ask", town, "-m", pair, *FEW, "-q", question).stdout
        for question in ("Who approved it?", "What was built?")
    ]
    assert result.stdout == "".join(alone)
    assert result.said.count("first token after") == 2
    assert result.said.count("soft tokens (ratio") == 1
    # Of a second question that sees the first, more is read.
    assert len(set(re.findall(r"([\d,]+) decoder positions", result.said))) == 2


def test_questions_are_read_until_the_end_of_standard_input(pair, town):
    assert run("ask", town, "-m", pair, *FEW, stdin="Who approved it?").stdout.count("\n") == 1
    assert run("ask", town, "-m", pair, *FEW, stdin="").stdout == ""


def test_a_question_that_cannot_be_answered_does_not_end_the_conversation(pair, town):
    result = run("ask", town, "-m", pair, *FEW, stdin="Who? " * 600 + "\nWho approved it?\n")
    assert "e2llm: `question` (=" in result.said
    assert result.stdout == run("ask", town, "-m", pair, *FEW, "-q", "Who approved it?").stdout


def test_a_question_that_is_no_utf_8_is_asked_as_far_as_it_is(pair, town):
    assert run("ask", town, "-m", pair, *FEW, "-q", "Who \udcff?").code == 0
    assert run("ask", town, "-m", pair, *FEW, stdin=b"Who \xff?\n").stdout.count("\n") == 1


@pytest.mark.parametrize("given", [("stdin", "stdout", "stderr"), ("stdin", "stderr")])
def test_a_terminal_is_prompted_on_itself_and_never_in_a_file_of_answers(
    pair, town, tmp_path, monkeypatch, given
):
    monkeypatch.setenv("TERM", "xterm")
    master, slave = pty.openpty()
    os.write(master, b"Who approved it?\n\n")
    running = start(
        tmp_path / "run", "ask", town, "-m", pair, *FEW, **dict.fromkeys(given, os.ttyname(slave))
    )
    shown = read_terminal(master, b"first token after")
    running.process.join(60)
    assert running.process.exitcode == 0
    assert b"Reading town.txt" in shown
    assert b"Ask; an empty line ends." in shown
    assert (b"> " in shown) == ("stdout" in given)
    if "stdout" not in given:
        assert (
            running.result().stdout
            == run("ask", town, "-m", pair, *FEW, "-q", "Who approved it?").stdout
        )
    os.close(master)
    os.close(slave)
