"""A run's log: a line of JSON per log step, in a file and in words."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainingArguments

from e2llm.training.recipe import Stage

LOG_FILE = "log.jsonl"


class Log(TrainerCallback):
    """Write every line of the log to a file, from the step that training goes on from, and say it.

    Args:
        folder: Where the file lies.
        stage: Whose log it is.
        say: Takes the line in words.
    """

    def __init__(self, folder: Path, stage: Stage, say: Callable[[str], None]) -> None:
        self.file, self.stage, self.say = folder / LOG_FILE, stage, say
        self.start_s, self.first_step = time.perf_counter(), 0

    def on_train_begin(
        self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any
    ) -> None:
        """Forget the lines after the checkpoint that training goes on from."""
        self.start_s, self.first_step = time.perf_counter(), state.global_step
        # What came after the checkpoint is trained anew, and would stand there twice.
        if state.is_world_process_zero and self.file.exists():
            lines = [
                line
                for line in self.file.read_text(encoding="utf-8").splitlines()
                if _step_of(line) <= state.global_step
            ]
            self.file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def on_log(
        self,
        args: TrainingArguments,
        state: Any,
        control: Any,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write one line."""
        if not state.is_world_process_zero or logs is None:
            return
        seconds = time.perf_counter() - self.start_s
        done = max(1, state.global_step - self.first_step)  # in this process, not before
        left_s = seconds / done * (state.max_steps - state.global_step)
        with open(self.file, "a", encoding="utf-8") as stream:
            stream.write(
                json.dumps({"step": state.global_step, "stage": self.stage.name, **logs}) + "\n"
            )
        # The library's summary at the end of a stage goes to the file alone.
        if "loss" in logs or "eval_decisive" in logs:
            self.say(self._line(state, logs, left_s))

    def _line(self, state: Any, logs: dict[str, float], left_s: float) -> str:
        """Say how far training is, the loss per task and ratio, the pace and the time left."""
        head = f"{self.stage.name} {state.global_step}/{state.max_steps}"
        losses = [
            f"{name.removeprefix('eval_')} {value:.3f}"
            for name, value in logs.items()
            if "@" in name
        ]
        if "eval_decisive" in logs:
            return f"{head} validation {logs['eval_decisive']:.4f}: {' '.join(losses)}"
        return (
            f"{head} {' '.join(losses)} | {logs.get('positions_per_s', 0):.0f} positions/s, "
            f"{format_seconds(left_s)} left"
        )


def read_log(file: Path) -> list[dict[str, Any]]:
    """Read the lines of a stage's log; one that an interruption cut short is left out."""
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines


def format_seconds(seconds: float) -> str:
    """Say a duration in words: "1 h 05 min", "12 min", "40 s"."""
    if not math.isfinite(seconds):
        return "an unknown time"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def _step_of(line: str) -> int:
    """Return the step of a line, a very late one where the line was cut short."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError):
        return 2**62
