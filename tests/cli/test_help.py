"""Help and usage: instant, complete, and exit code 2 for what cannot be parsed."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

import e2llm
from e2llm.cli import app
from tests.cli.running import run

VERBS = [
    "ask",
    "compress",
    "pair",
    "show",
    "models",
    "merge",
    "train",
    "data",
    "fit",
    "evaluate",
    "report",
    "ablate",
    "library",
]
HEAVY = ("torch", "transformers", "peft", "numpy", "safetensors")


def test_help_imports_neither_torch_nor_transformers():
    environ = {**os.environ, "PYTHONPATH": str(Path(e2llm.__file__).parents[1])}
    code = (
        "import sys\nfrom e2llm.cli import main\ntry: main()\nfinally: print([name for name in "
        f"{HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=environ,
    )
    assert result.stderr == "[]\n"
    assert all(verb in result.stdout for verb in VERBS)


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize(
    "verb",
    [
        [],
        *([verb] for verb in VERBS),
        *(["library", verb] for verb in ("list", "rename", "delete", "limit")),
    ],
)
def test_every_verb_explains_itself(verb, option):
    result = run(*verb, option)
    assert (result.code, result.stderr) == (0, "")
    assert result.stdout.startswith("Usage: e2llm ")
    command: Any = typer.main.get_command(app)
    for name in verb:
        command = command.commands[name]
    assert " ".join(command.help.split()) in " ".join(result.stdout.split())
    assert all(parameter.help for parameter in command.params)


@pytest.mark.parametrize(
    "argv",
    [
        ["asks"],
        ["ask", "a.txt", "--nope"],
        ["ask", "a.txt", "--temperature", "warm"],
        ["ask", "a.txt", "--expand", "1.5"],
        ["ask", "a.txt", "--question"],
        ["compress"],
        ["pair", "one"],
        ["pair", "one", "two"],
        ["library", "rename", "one"],
        ["library", "nope"],
    ],
)
def test_what_cannot_be_parsed_is_a_usage_error(argv):
    result = run(*argv)
    assert (result.code, result.stdout) == (2, "")
    assert "Error: " in result.stderr
    assert "Traceback" not in result.stderr


def test_no_verb_at_all_shows_the_help():
    assert "Commands:" in "".join((run().stdout, run().stderr))


def test_asking_with_neither_a_file_nor_a_question_says_what_is_missing():
    result = run("ask")
    assert (result.code, result.stdout) == (2, "")
    assert result.stderr.startswith("e2llm: `FILE` must be given; or `--question`")
