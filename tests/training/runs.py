"""Run recipes in this process, and look at what they leave."""

import os
import signal
from pathlib import Path

import pytest

from e2llm.training.checkpoints import TRAINED_FILE
from e2llm.training.log import read_log
from e2llm.training.recipe import Recipe
from e2llm.training.stages import train
from tests.training import writing

ADAPTER_ONLY = {"learning_rates": {"adapter": 5e-3}, "tasks": {"alignment": {}}, "ratios": [1]}
TWO = (writing.stage("align", **ADAPTER_ONLY), writing.stage("read"))


def run(recipe: Recipe, resume: bool = False, stop_at: str | None = None) -> list[str]:
    """Train, with Ctrl-C where a line begins with `stop_at`; return what was said.

    A test that stops needs the fixture `ctrl_c`.
    """
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        if stop_at is not None and line.startswith(stop_at) and "validation" not in line:
            os.kill(os.getpid(), signal.SIGINT)

    if stop_at is None:
        train(recipe, resume, say)
    else:
        with pytest.raises(KeyboardInterrupt):
            train(recipe, resume, say)
    return lines


def trained(output: str, stage: str = "1-read") -> bytes:
    """Return what a stage has trained, as its file holds it."""
    return (Path(output) / stage / TRAINED_FILE).read_bytes()


def log(output: str, stage: str = "1-read") -> list[dict]:
    """Read the log of a stage."""
    return read_log(Path(output) / stage / "log.jsonl")
