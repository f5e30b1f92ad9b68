"""Run the command line: in this process where nothing but its words matter, in a process of its own where signals, limits and users do."""

import io
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest import mock

from e2llm.cli import main

# A server that has imported everything forks each process: real processes, without 5 s for each.
PROCESSES = multiprocessing.get_context("forkserver")
PRELOADED = [__name__, "e2llm.answering", "transformers.models.bert.modeling_bert", "transformers.models.llama.modeling_llama"]
NOBODY = 65534


@dataclass(frozen=True)
class Result:
    """What a run of the command line gave."""

    code: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """The message of a run that failed as it should: nothing on standard output, one line and no traceback on standard error."""
        assert self.code != 0, self
        assert self.stdout == "", self
        assert self.stderr.startswith("e2llm: "), self
        assert self.stderr.count("\n") == 1, self
        assert self.stderr.endswith(".\n") or self.stderr.endswith("?\n") or self.stderr.endswith("`\n"), self
        return self.stderr.removeprefix("e2llm: ").rstrip("\n")


def run(*argv: object, stdin: str | bytes = b"") -> Result:
    """Run `e2llm ARGV...` in this process."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors=errors, write_through=True) for errors in ("strict", "backslashreplace")]
    data = stdin.encode() if isinstance(stdin, str) else stdin
    code = 0
    with (
        redirect_stdout(streams[0]),
        redirect_stderr(streams[1]),
        mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8")),
        mock.patch.object(sys, "argv", ["e2llm", *map(str, argv)]),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    stdout, stderr = (stream.buffer.getvalue().decode() for stream in streams)
    return Result(code, stdout, stderr)
