"""What happens to the command line from outside: signals, closed pipes, full disks, other users,
other processes.
"""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import e2llm
from tests import tiny
from tests.cli.running import (
    FEW,
    become_nobody,
    close_reader,
    limit_files,
    run,
    start,
    stored_files,
    write,
)
from tests.tiny import TEXT

Q = ("-q", "Who approved the budget?")
ALONE = {**os.environ, "PYTHONPATH": str(Path(e2llm.__file__).parents[1]), "HF_HUB_OFFLINE": "1"}


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """A text that takes seconds to read."""
    return write(tmp_path / "long.txt", TEXT * 4000)


# Interrupts


@pytest.mark.parametrize("given", [["compress"], ["compress", "-o", "long.e2llm"], ["ask", *Q]])
def test_an_interrupt_while_reading_leaves_nothing_half_written(pair, long, tmp_path, home, given):
    running = start(tmp_path / "run", given[0], long, "-m", pair, *given[1:])
    running.wait_until("stderr", "Reading long.txt")
    result = running.kill(signal.SIGINT)
    assert (result.code, result.stdout) == (130, "")
    assert result.stderr.splitlines()[1:] == [
        "e2llm: interrupted; what was stored before is untouched."
    ]
    assert stored_files(home) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["long.txt", "run"]


def test_an_interrupt_while_answering_stops_the_answer(make_pair, world, town, tmp_path):
    tiny.make_decoder(world / "endless", max_position_embeddings=100_000)
    patient = make_pair("patient", decoder_name=str(world / "endless"))
    running = start(
        tmp_path / "run",
        "ask",
        town,
        "-m",
        patient,
        *Q,
        "--max-new-tokens",
        20_000,
        "--temperature",
        1,
        "--seed",
        0,
    )
    running.wait_until("stdout", " ")
    result = running.kill(signal.SIGINT)
    assert result.code == 130
    assert (
        result.stderr.splitlines()[-1] == "e2llm: interrupted; what was stored before is untouched."
    )
    assert "Traceback" not in result.stderr


def test_a_kill_while_reading_loses_nothing_and_the_next_run_does_its_work(
    pair, town, tmp_path, home
):
    run("compress", town, "-m", pair)
    before = stored_files(home)
    middle = write(tmp_path / "middle.txt", TEXT * 600)
    running = start(tmp_path / "run", "compress", middle, "-m", pair)
    running.wait_until("stderr", "Reading middle.txt")
    assert running.kill(signal.SIGKILL).code == -signal.SIGKILL
    assert stored_files(home) == before
    assert [entry["name"] for entry in run("library", "list", "--json").json] == ["town.txt"]
    assert run("compress", middle, "-m", pair).code == 0
    assert [entry["name"] for entry in run("library", "list", "--json").json] == [
        "middle.txt",
        "town.txt",
    ]
    assert "read before" in run("ask", town, "-m", pair, *Q, *FEW).said


@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGKILL])
def test_an_end_while_storing_leaves_the_whole_document_or_none(pair, tmp_path, home, with_signal):
    middle = write(tmp_path / "middle.txt", TEXT * 100)
    running = start(tmp_path / "run", "compress", middle, "-m", pair, "--ratio", 1)
    while running.process.is_alive() and not stored_files(home):
        pass
    result = running.kill(with_signal)
    temporary = [name for name in stored_files(home) if name.endswith(".tmp")]
    assert len(run("library", "list", "--json").json) == len(stored_files(home)) - len(temporary)
    if with_signal == signal.SIGINT:
        assert not temporary
        assert result.code in (130, 0)  # 0 where all was stored by then
    assert run("compress", middle, "-m", pair, "--ratio", 1).code == 0
    assert "read before" in run("ask", middle, "-m", pair, *Q, *FEW, "--ratio", 1).said


# Several processes


def test_two_processes_that_compress_the_same_document_both_succeed_and_store_one(
    pair, tmp_path, home
):
    middle = write(tmp_path / "middle.txt", TEXT * 100)
    running = [
        start(tmp_path / f"run{number}", "compress", middle, "-m", pair) for number in range(2)
    ]
    for result in [one.result() for one in running]:
        assert result.said.splitlines()[-1].startswith("middle.txt: ")
    assert len(stored_files(home)) == 1
    assert len(run("library", "list", "--json").json) == 1
    assert "read before" in run("ask", middle, "-m", pair, *Q, *FEW).said


# Full disks and closed pipes


def test_on_a_full_disk_compress_fails_in_one_line_and_ask_answers_all_the_same(
    pair, town, tmp_path, home
):
    write(town, TEXT * 20)
    failed = start(
        tmp_path / "failed", "compress", town, "-m", pair, prepare=limit_files, arguments=(20_000,)
    ).result()
    assert failed.code == 1
    _, line = failed.stderr.splitlines()
    assert line.startswith("e2llm: `")
    assert "the library cannot be written (File too large)" in line
    asked = start(
        tmp_path / "asked",
        "ask",
        town,
        "-m",
        pair,
        *Q,
        *FEW,
        prepare=limit_files,
        arguments=(20_000,),
    ).result()
    assert "'town.txt' is not stored" in asked.said
    assert asked.stdout.strip()
    assert stored_files(home) == []
    assert run("compress", town, "-m", pair).code == 0


def test_on_a_full_disk_a_file_or_a_folder_is_not_half_written(pair, town, world, tmp_path):
    write(town, TEXT * 20)
    limited = {"prepare": limit_files, "arguments": (4_000,)}
    (tmp_path / "kept.e2llm").write_text("before")
    kept = start(
        tmp_path / "run1", "compress", town, "-m", pair, "-o", "kept.e2llm", **limited
    ).result()
    assert kept.code == 1
    assert (
        kept.stderr.splitlines()[-1]
        == "e2llm: `--output` (=kept.e2llm) cannot be written (File too large); choose another "
        "place."
    )
    assert (tmp_path / "kept.e2llm").read_text() == "before"
    made = start(
        tmp_path / "run2", "pair", world / "encoder", world / "decoder", "-o", "made", **limited
    ).result()
    assert made.failure.startswith("`--output` (=")
    assert "File too large" in made.failure
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "kept.e2llm",
        "run1",
        "run2",
        "town.txt",
    ]


def test_an_answer_into_a_closed_pipe_ends_without_a_word(pair, town, tmp_path):
    run("compress", town, "-m", pair)
    result = start(
        tmp_path / "run", "ask", town, "-m", pair, *Q, *FEW, prepare=close_reader
    ).result()
    assert (result.code, result.stdout, result.stderr) == (1, "", "")


@pytest.mark.parametrize("argv", [["models"], ["models", "--json"], ["--help"]])
def test_a_closed_pipe_is_no_traceback_when_python_exits_either(argv):
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [sys.executable, "-m", "e2llm", *argv],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env=ALONE,
    )
    os.close(writer)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "Exception" not in result.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_an_output_that_is_full_is_an_error_of_one_line():
    with open("/dev/full", "w") as full:
        argv = [sys.executable, "-m", "e2llm", "models", "--json"]
        result = subprocess.run(
            argv, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=ALONE
        )
    assert (result.returncode, result.stderr) == (1, "e2llm: No space left on device.\n")


# A library that this user may not write


@pytest.fixture
def shared(pair, monkeypatch) -> Iterator[Path]:
    """A home that every user can reach and none may write, with one stored document and one text
    beside it.
    """
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("E2LLM_HOME", str(folder / "home"))
    write(folder / "stored.txt")
    write(folder / "fresh.txt", TEXT * 2)
    assert run("compress", "stored.txt", "-m", pair).code == 0
    paths = [*(folder / "home").rglob("*"), folder / "home"]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield folder
    for path in paths:
        path.chmod(stat.S_IRWXU)
    shutil.rmtree(folder)


def test_a_read_only_library_is_read_and_what_cannot_be_stored_is_answered_about_all_the_same(
    pair, shared
):
    before = stored_files(shared / "home")
    nobody = {"prepare": become_nobody, "arguments": ("ask", "stored.txt", "-m", pair, *Q, *FEW)}
    stored, asked, compressed, listed, deleted = (
        start(shared / f"run{number}", *argv, **nobody)
        for number, argv in enumerate(
            (
                ["ask", "stored.txt", "-m", pair, *Q, *FEW],
                ["ask", "fresh.txt", "-m", pair, *Q, *FEW],
                ["compress", "fresh.txt", "-m", pair],
                ["library", "list"],
                ["library", "delete", "stored.txt"],
            )
        )
    )
    assert "read before" in stored.result().said
    assert "the library cannot be written" in asked.result().said
    assert "'fresh.txt' is not stored" in asked.result().said
    assert asked.result().stdout.strip()
    assert compressed.result().code == 1
    assert (
        compressed.result()
        .stderr.splitlines()[-1]
        .startswith(f"e2llm: `{shared / 'home' / 'library'}`: the library cannot be written")
    )
    assert "stored.txt" in listed.result().stdout
    assert "the library cannot be written" in deleted.result().failure
    assert stored_files(shared / "home") == before
