"""`e2llm compress FOLDER` and `e2llm ask FOLDER`: all that can be read is, and once."""

import json
import os
import signal
import sqlite3
from pathlib import Path

import pytest

from tests.cli.running import FEW, become_nobody, run, start, write
from tests.tiny import TEXT


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A folder with two reports of one name, and a picture."""
    root = tmp_path / "notes"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        write(root / name / "report.md", f"{TEXT} Part {name}.")
    (root / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    return root


def later(path: Path, seconds: int = -60) -> None:
    """Put the time of a file's writing elsewhere, so that it is not in doubt."""
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + seconds * 10**9))


def age(root: Path) -> None:
    for path in root.rglob("*"):
        if path.is_file():
            later(path)


def stored() -> list[str]:
    return [entry["name"] for entry in run("library", "list", "--json").json]


def lines(result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_folders_files_are_stored_under_their_paths_and_the_rest_is_counted(pair, notes):
    said = run("compress", notes, "-m", pair).said
    assert stored() == ["a/report.md", "b/report.md"]
    assert "Reading 3 files: about " in said
    assert "1 file of kinds that cannot be read (.png 1) was passed over" in said
    assert "2 files read, 0 read before, 0 could not be read" in said


def test_a_second_run_opens_nothing_that_stayed_the_same(pair, notes):
    age(notes)
    run("compress", notes, "-m", pair)
    for path in notes.rglob("*.md"):
        state = path.stat()
        path.write_bytes(b"\0" * state.st_size)  # which would be refused
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert "0 files read, 2 read before" in run("compress", notes, "-m", pair).said


def test_only_what_is_new_or_changed_is_read(pair, notes):
    age(notes)
    run("compress", notes, "-m", pair)
    assert "0 files read, 2 read before" in run("compress", notes, "-m", pair).said
    write(notes / "c.txt", TEXT + "C")
    write(notes / "a" / "report.md", f"{TEXT} Part A, changed.")
    result = run("compress", notes, "-m", pair, "--json")
    said = {line["name"]: bool(line["compress_s"]) for line in lines(result)}
    assert said == {"a/report.md": True, "b/report.md": False, "c.txt": True}
    # What was touched alone is opened, and not read anew.
    later(notes / "b" / "report.md", -5)
    assert "0 files read, 3 read before" in run("compress", notes, "-m", pair).said


def test_a_file_changed_within_the_same_tick_is_found_out(pair, notes):
    path = notes / "a" / "report.md"
    run("compress", notes, "-m", pair)
    state = path.stat()
    path.write_bytes(path.read_bytes().replace(b"Part a", b"Part x"))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert "1 files read, 1 read before" in run("compress", notes, "-m", pair).said


def test_another_ratio_reads_anew_and_a_lost_index_costs_nothing_but_opening(pair, notes, home):
    age(notes)
    run("compress", notes, "-m", pair)
    assert "2 files read" in run("compress", notes, "-m", pair, "--ratio", 4).said
    for content in (None, b"no database", b""):
        index = home / "library" / "files.sqlite"
        index.unlink()
        if content is not None:
            index.write_bytes(content)
        result = run("compress", notes, "-m", pair, "--json")
        assert [line["compress_s"] for line in lines(result)] == [0.0, 0.0]
    assert len(stored()) == 4


def test_sync_removes_what_is_gone_and_nothing_else(pair, notes, tmp_path):
    own = write(tmp_path / "own.txt", TEXT + "own")
    run("compress", own, "-m", pair)
    write(notes / "copy.txt", f"{TEXT} Part b.")
    run("compress", notes, "-m", pair)
    assert stored() == ["a/report.md", "b/report.md", "copy.txt", "own.txt"]
    (notes / "a" / "report.md").unlink()
    (notes / "b" / "report.md").unlink()
    (notes / "a").rmdir()
    assert len(stored()) == 4
    said = run("compress", notes, "-m", pair, "--sync").said
    assert "2 documents of files that are gone were removed" in said
    assert stored() == ["copy.txt", "own.txt"]
    assert run("show", "copy.txt", "--json").json["characters"] == len(f"{TEXT} Part b.")
    write(notes / "copy.txt", f"{TEXT} Part d.")
    run("compress", notes, "-m", pair)
    assert stored() == ["copy.txt", "copy.txt", "own.txt"]
    assert ": 1 documents" in run("compress", notes, "-m", pair, "--sync").said
    assert stored() == ["copy.txt", "own.txt"]


def test_a_bad_file_is_listed_at_the_end_and_the_rest_is_done(pair, notes):
    for number in range(23):
        (notes / f"bad{number:02}.pdf").write_bytes(b"%PDF-1.4 nothing")
    result = run("compress", notes, "-m", pair)
    assert result.code == 1
    said = result.stderr.splitlines()
    start = said.index("23 files could not be read:")
    assert len(said) - start == 22
    assert said[start + 1].startswith("  bad00.pdf: ")
    assert said[-1] == "  and 3 more; --json names them all."
    assert stored() == ["a/report.md", "b/report.md"]
    result = run("compress", notes, "-m", pair, "--json")
    assert result.code == 1
    assert sum("error" in line for line in lines(result)) == 23


def test_of_several_files_a_bad_one_is_listed_and_the_others_are_done(pair, town, tmp_path):
    result = run("compress", "missing.txt", town, "-m", pair)
    assert result.code == 1
    assert stored() == ["town.txt"]
    assert "1 file could not be read:\n  missing.txt: " in result.stderr
    alone = run("compress", "missing.txt", "-m", pair)
    assert alone.code == 2
    assert run("compress", "missing.txt", "gone.txt", "-m", pair).code == 1


def test_a_text_that_the_encoder_makes_nothing_of_stops_no_other(pair, notes):
    write(notes / "a" / "blank.txt", "\u200b\u200b")
    result = run("compress", notes, "-m", pair)
    assert result.code == 1
    assert stored() == ["a/report.md", "b/report.md"]


def test_files_of_one_name_are_told_apart_by_their_paths(pair, notes):
    run("compress", *notes.rglob("*.md"), "-m", pair)
    assert stored() == ["a/report.md", "b/report.md"]


def test_files_of_one_text_are_both_listed_and_asked(pair, notes):
    write(notes / "same.txt", f"{TEXT} Part a.")
    age(notes)
    run("compress", notes, "-m", pair)
    assert stored() == ["a/report.md", "b/report.md", "same.txt"]
    said = run("ask", notes, "-m", pair, "-q", "Who?", *FEW, "--json").json
    assert [document["name"] for document in said["documents"]] == [
        "same.txt",
        "a/report.md",
        "b/report.md",
    ]
    assert [document["compress_s"] for document in said["documents"]] == [0.0, 0.0, 0.0]
    assert "read before" in run("ask", "same.txt", "-m", pair, "-q", "Who?", *FEW).said


def test_several_folders_come_before_the_names_of_their_files(pair, notes, town):
    run("compress", notes / "a", notes / "b", town, "-m", pair)
    assert stored() == ["a/report.md", "b/report.md", "town.txt"]


def test_a_pattern_is_a_folder_of_what_matches_it(pair, notes):
    write(notes / "b" / "more.txt", TEXT + "more")
    run("compress", f"{notes}/**/*.md", "-m", pair)
    assert stored() == ["a/report.md", "b/report.md"]
    asked = run("ask", "notes/b/*", "-m", pair, "-q", "Who?", *FEW, "--json").json
    assert [document["name"] for document in asked["documents"]] == ["more.txt", "report.md"]
    assert (
        "no file that can be read"
        in run("ask", "notes/*.docx", "-m", pair, "-q", "Who?", *FEW).mistake
    )


def test_a_folder_is_asked_and_its_bad_files_are_said(pair, notes):
    (notes / "bad.pdf").write_bytes(b"%PDF-1.4 nothing")
    result = run("ask", notes, "-m", pair, "-q", "Who?", *FEW)
    assert result.code == 0
    assert "1 file could not be read:\n  bad.pdf: " in result.stderr
    said = run("ask", notes, "-m", pair, "-q", "Who?", *FEW, "--json").json
    assert [failure["name"] for failure in said["failures"]] == ["bad.pdf"]
    assert [document["compress_s"] for document in said["documents"]] == [0.0, 0.0]
    expanded = run("ask", notes, "-m", pair, "-q", "Who?", *FEW, "--expand", 1, "--json").json
    assert len(expanded["documents"]) == 2


def test_an_encoding_may_be_of_some_files(pair, notes):
    for name in ("old", "new"):
        (notes / name).mkdir()
    (notes / "old" / "x.txt").write_bytes(("Grüße. " * 30).encode("cp1252"))
    (notes / "new" / "x.txt").write_bytes(("Grüße. " * 31).encode())
    run("compress", notes, "-m", pair, "--encoding", "old/*.txt=cp1252")
    for name in ("old/x.txt", "new/x.txt"):
        text = run("show", name, "--json").json
        assert text["characters"] == 7 * (30 if name.startswith("old") else 31)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--sync"], None),
        (["--name", "x"], "`--name` goes with one file, and a folder is given"),
        (["-o", "x.e2llm"], "`--output` goes with one file, and a folder is given"),
        (["--max-size", "much"], "`--max-size` (=much) must be a number of bytes"),
        (["--encoding", "*.txt=nothing"], "nothing"),
    ],
)
def test_options_that_do_not_fit_a_folder_are_refused(pair, notes, options, words):
    result = run("compress", notes, "-m", pair, *options)
    if words is None:
        assert result.code == 0
        assert "`--sync` goes with a folder" in run("compress", "x", "-m", pair, "--sync").mistake
    else:
        assert words in result.mistake


def test_an_interruption_keeps_what_was_read_and_the_next_run_goes_on(pair, tmp_path):
    root = tmp_path / "many"
    root.mkdir()
    for number in range(40):
        write(root / f"{number:02}.txt", f"{number} " + TEXT * 130)  # each a group of its own
    age(root)
    running = start(tmp_path / "run", "compress", root, "-m", pair)
    running.wait_until("stderr", "02.txt: ")
    result = running.kill(signal.SIGINT)
    assert result.code == 130
    assert "Traceback" not in result.stderr
    assert "the same command goes on from there" in result.stderr
    done = len(stored())
    assert 3 <= done < 40
    said = run("compress", root, "-m", pair).said
    assert f"{40 - done} files read, {done} read before" in said


def test_two_processes_read_one_folder_at_once(pair, notes, tmp_path):
    runs = [start(tmp_path / name, "compress", notes, "-m", pair) for name in ("one", "two")]
    assert [running.result().code for running in runs] == [0, 0]
    assert stored() == ["a/report.md", "b/report.md"]


def test_what_may_not_be_read_is_one_line(pair, world, tmp_path):
    root = world / "forbidden"
    root.mkdir()
    for name in ("a.txt", "b.txt"):
        write(root / name, TEXT + name).chmod(0o644 if name == "a.txt" else 0)
    (world / "library").mkdir()
    (world / "library").chmod(0o777)
    argv = ("compress", root, "-m", pair, "--library")
    running = start(
        tmp_path / "run", *argv, world / "library",
        prepare=become_nobody, arguments=(*argv, tmp_path / "warm"),
    )  # fmt: skip
    result = running.result()
    said = result.stderr.partition("1 file could not be read:\n")[2]
    assert said.startswith("  b.txt: ")
    assert "may not be read by this user" in said
    assert result.code == 1


def test_a_locked_index_stops_nothing(pair, notes, home, monkeypatch):
    run("compress", notes, "-m", pair)
    monkeypatch.setattr("e2llm.documents.file_index.BUSY_TIMEOUT_S", 0.1)
    db = sqlite3.connect(home / "library" / "files.sqlite", isolation_level=None)
    db.execute("BEGIN EXCLUSIVE")
    assert "0 read before" in run("compress", notes, "-m", pair).said
    db.close()


def test_names_of_any_kind_are_one_line_each(pair, notes):
    (notes / "a\nb.txt").write_text(TEXT + "1")
    (notes / "\u202edcba.txt").write_text(TEXT + "2")
    (notes / ("x" * 251 + ".txt")).write_text(TEXT + "3")
    (notes / "e\udcff.txt").write_text(TEXT + "4")
    age(notes)
    assert run("compress", notes, "-m", pair).code == 0
    assert len(stored()) == 6
    assert "0 files read, 6 read before" in run("compress", notes, "-m", pair).said


def asked(*paths: Path, pair) -> list[str]:
    facts = run("ask", *paths, "-m", pair, "-q", "Who?", *FEW, "--json").json
    return [document["name"] for document in facts["documents"]]


@pytest.mark.parametrize("verb", ["compress", "ask"])
def test_a_damaged_document_is_made_again_from_its_file(pair, notes, home, verb):
    age(notes)
    run("compress", notes, "-m", pair)
    damaged = next((home / "library").glob("*.e2llm"))
    damaged.write_bytes(damaged.read_bytes()[:1000])
    if verb == "compress":
        assert "1 files read, 1 read before" in run("compress", notes, "-m", pair).said
    assert asked(notes, pair=pair) == ["a/report.md", "b/report.md"]
    assert damaged.stat().st_size > 1000


def test_sync_leaves_what_another_folder_gives_under_the_same_name(pair, tmp_path):
    for folder in "xy":
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "licence.txt", TEXT)
        write(tmp_path / folder / f"{folder}.txt", TEXT + folder)
        run("compress", tmp_path / folder, "-m", pair)
    (tmp_path / "x" / "licence.txt").unlink()
    run("compress", tmp_path / "x", "-m", pair, "--sync")
    assert stored() == ["licence.txt", "x.txt", "y.txt"]


def test_two_names_that_look_alike_are_two_documents(pair, tmp_path):
    root = tmp_path / "odd"
    root.mkdir()
    for place, name in enumerate(("a\nb.txt", "a?b.txt", "a?b.txt (2)")):
        write(root / name, f"{TEXT} {place}")
    names = asked(root, pair=pair)
    assert len(set(names)) == len(names) == 3


def test_a_folder_asked_beside_another_has_its_own_name_before_its_files(pair, notes, tmp_path):
    age(notes)
    other = tmp_path / "other"
    other.mkdir()
    write(other / "x.md", TEXT)
    for root in (notes, other):
        run("compress", root, "-m", pair)
    names = ["notes/a/report.md", "notes/b/report.md", "other/x.md"]
    assert asked(notes, other, pair=pair) == names
    assert asked(notes, notes, pair=pair) == ["a/report.md", "b/report.md"]


def test_a_folder_that_may_not_be_read_stops_no_other(pair, notes, tmp_path, monkeypatch):
    (tmp_path / "bad").mkdir()
    scan = os.scandir

    def refuse(path):
        if Path(path) == tmp_path / "bad":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    result = run("compress", tmp_path / "bad", notes, "-m", pair)
    assert result.code == 1
    assert "cannot be read (Permission denied)" in result.stderr
    assert len(stored()) == 2
