"""Run the command line: in this process where nothing but its words matter, in a process of its own
where signals, limits and users do.
"""

import io
import json
import multiprocessing
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from e2llm.cli import main
from tests.tiny import TEXT

# A server that has imported everything forks each process: real processes, without 5 s for each.
PROCESSES = multiprocessing.get_context("forkserver")
PRELOADED = [
    __name__,
    "e2llm.pair",
    "transformers.models.bert.modeling_bert",
    "transformers.models.llama.modeling_llama",
]
NOBODY = 65534
# Few tokens, and a precision in which no two of them tie.
FEW = ("--max-new-tokens", 4, "--dtype", "float32")


@dataclass(frozen=True)
class Result:
    """What a run of the command line gave."""

    code: int
    stdout: str
    stderr: str

    @property
    def said(self) -> str:
        """Standard error of a run that went well."""
        assert self.code == 0, self
        return self.stderr

    @property
    def json(self) -> Any:
        """The one object that a run that went well printed, alone on its line."""
        assert self.code == 0, self
        assert self.stdout.count("\n") == 1, self
        return json.loads(self.stdout)

    @property
    def error(self) -> str:
        """The message of a run that failed as it should: one line on standard error, and nothing
        else anywhere.
        """
        assert self.stdout == "", self
        assert self.stderr.startswith("e2llm: "), self
        assert self.stderr.endswith("\n"), self
        assert self.stderr.count("\n") == 1, self
        return self.stderr.removeprefix("e2llm: ").rstrip("\n")

    @property
    def mistake(self) -> str:
        """The message of an error that is the user's."""
        assert self.code == 2, self
        return self.error

    @property
    def failure(self) -> str:
        """The message of an error that is nobody's mistake."""
        assert self.code == 1, self
        return self.error


def run(*argv: object, stdin: str | bytes = b"") -> Result:
    """Run `e2llm ARGV...` in this process."""
    out, err = (
        io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors=errors, write_through=True)
        for errors in ("strict", "backslashreplace")
    )
    typed = io.TextIOWrapper(
        io.BytesIO(stdin.encode() if isinstance(stdin, str) else stdin), encoding="utf-8"
    )
    with redirect_stdout(out), redirect_stderr(err), mock.patch.object(sys, "stdin", typed):
        code = _main(argv)
    return Result(code, *(stream.buffer.getvalue().decode() for stream in (out, err)))  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Running:
    """A run of the command line in a process of its own, with its three streams in files of
    `folder`.
    """

    process: BaseProcess
    folder: Path

    def wait_until(self, stream: str, words: str, seconds: float = 60) -> None:
        """Return once `words` stand in "stdout" or "stderr"."""
        deadline = time.monotonic() + seconds
        while words not in self._text(stream):
            assert self.process.is_alive(), self.result()
            if time.monotonic() > deadline:
                raise AssertionError(self.kill(signal.SIGKILL))
            time.sleep(0.005)

    def kill(self, with_signal: int) -> Result:
        """Send a signal and return what came of it."""
        with suppress(ProcessLookupError):  # it was quicker
            os.kill(self.process.pid or 0, with_signal)
        return self.result()

    def result(self, seconds: float = 120) -> Result:
        """Wait for the end."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, "still running"
        return Result(self.process.exitcode, self._text("stdout"), self._text("stderr"))

    def _text(self, stream: str) -> str:
        file = self.folder / stream
        return file.read_bytes().decode("utf-8", "replace") if file.exists() else ""


def start(
    folder: Path,
    *argv: object,
    prepare: Callable[..., None] | None = None,
    arguments: tuple = (),
    **streams: str,
) -> Running:
    """Start `e2llm ARGV...` in a process of its own.

    Args:
        folder: An empty folder's name; it is made.
        prepare: Called in the new process before the command line, with `arguments`; its name must
            be importable.
        streams: Device files in the place of "stdin", "stdout", "stderr".
    """
    folder.mkdir()
    (folder / "stdin").touch()
    process = PROCESSES.Process(
        target=_run_here,
        args=(argv, dict(os.environ), os.getcwd(), folder, prepare, arguments, streams),
    )
    process.start()
    return Running(process, folder)


def read_terminal(master: int, words: bytes, seconds: float = 60) -> bytes:
    """Return what a terminal shows up to and with `words`."""
    shown, deadline = b"", time.monotonic() + seconds
    while words not in shown:
        ready, _, _ = select.select([master], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, shown
        shown += os.read(master, 4096)
    return shown


def limit_files(n_bytes: int) -> None:
    """No file may grow beyond so many bytes: to a program that is a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))


def become_nobody(*warm_up: object) -> None:
    """Become a user without rights, after a first run: what this process imports late may lie where
    only its owner may read.
    """
    run(*warm_up)
    if os.getuid() == 0:
        os.setuid(NOBODY)


def close_reader() -> None:
    """Make standard output a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 1)


def _run_here(
    argv: tuple,
    environ: dict,
    cwd: str,
    folder: Path,
    prepare: Callable[..., None] | None,
    arguments: tuple,
    streams: dict,
) -> None:
    for number, (name, flags) in enumerate(
        (
            ("stdin", os.O_RDONLY),
            ("stdout", os.O_WRONLY | os.O_CREAT),
            ("stderr", os.O_WRONLY | os.O_CREAT),
        )
    ):
        os.dup2(os.open(streams.get(name, folder / name), flags | os.O_NOCTTY), number)
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", errors="backslashreplace", buffering=1, closefd=False)
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(cwd)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if prepare is not None:
        prepare(*arguments)
    sys.exit(_main(argv))


def _main(argv: tuple) -> int:
    with mock.patch.object(sys, "argv", ["e2llm", *map(str, argv)]):
        try:
            main()
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def write(path: Path, text: str = TEXT) -> Path:
    """Write a text file and return its path."""
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


def stored_files(home: Path) -> list[str]:
    """List what lies in the library of a home folder, temporary files included and the registry
    left out.
    """
    folder = home / "library"
    return (
        sorted(
            path.name for path in folder.iterdir() if not path.name.startswith("registry.sqlite")
        )
        if folder.exists()
        else []
    )
