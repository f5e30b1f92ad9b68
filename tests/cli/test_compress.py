"""`e2llm compress`: read once, keep in the library or in a file."""

import re

import pytest

from e2llm import CompressedDocument
from tests.cli.running import FEW, run, stored_files, write
from tests.tiny import TEXT


def test_a_document_is_stored_under_its_name_and_summed_up_in_one_line(pair, town, home):
    result = run("compress", town, "-m", pair)
    reading, line = result.said.splitlines()
    assert result.stdout == ""
    assert reading.startswith("Reading town.txt: ")
    assert line.startswith("town.txt: ")
    assert "soft tokens (ratio 8" in line
    (file,) = stored_files(home)
    assert CompressedDocument.load(home / "library" / file).text == TEXT


def test_it_reads_nothing_twice(pair, town):
    run("compress", town, "-m", pair)
    assert run("compress", town, "-m", pair).said.endswith("read before.\n")


def test_several_files_are_stored_each_under_its_name(pair, tmp_path):
    files = [write(tmp_path / f"{name}.txt", TEXT + name) for name in "abc"]
    results = run("compress", *files, "-m", pair, "--json").stdout.splitlines()
    assert len(results) == 3
    stored = [entry["name"] for entry in run("library", "list", "--json").json]
    assert stored == ["a.txt", "b.txt", "c.txt"]


def test_standard_input_is_compressed_and_asked_by_its_name(pair):
    assert run("compress", "-", "-m", pair, "--name", "notes", stdin=TEXT).code == 0
    assert "read before" in run("ask", "notes", "-m", pair, "-q", "Who?", *FEW).said


def test_json_is_one_object_with_key_and_sizes(pair, town, home):
    facts = run("compress", town, "-m", pair, "--ratio", 4, "--json").json
    assert set(facts) == {
        "name",
        "key",
        "n_tokens",
        "n_soft",
        "n_chunks",
        "ratio",
        "ratio_asked",
        "notices",
        "compress_s",
    }
    document = CompressedDocument.load(home / "library" / f"{facts['key']}.e2llm")
    assert (facts["name"], facts["n_tokens"], facts["n_soft"]) == (
        "town.txt",
        document.n_tokens,
        document.n_soft,
    )
    assert (facts["ratio"], facts["ratio_asked"]) == (document.ratio_got, 4)


def test_output_writes_a_file_in_place_of_the_library(pair, town, tmp_path, home):
    assert run("compress", town, "-m", pair, "-o", "kept.e2llm", "--name", "kept").code == 0
    assert not home.exists()
    assert CompressedDocument.load(tmp_path / "kept.e2llm").name == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept.e2llm", "town.txt"]


@pytest.mark.parametrize("stored", [False, True])
def test_a_name_is_given_to_what_is_stored_already_too(pair, town, stored):
    if stored:
        run("compress", town, "-m", pair)
    lines = run("compress", town, "-m", pair, "--name", "report").said.splitlines()
    assert lines[-1].startswith("report: ")
    assert "read before" in run("ask", "report", "-m", pair, "-q", "Who?", *FEW).said


def test_of_several_texts_of_one_name_the_one_compressed_last_is_asked(pair, town):
    for text in (TEXT, TEXT * 2, TEXT):
        write(town, text)
        run("compress", town, "-m", pair)
    assert run("show", "town.txt", "--json").json["characters"] == len(TEXT)


def test_of_a_text_that_has_grown_only_the_tail_is_read(pair, town):
    run("compress", town, "-m", pair)
    write(town, TEXT * 2)
    said = run("compress", town, "-m", pair).said
    n_new = int(re.match(r"Reading town.txt: (\d+) new characters", said)[1])
    assert len(TEXT) <= n_new <= len(TEXT) + 120  # with the last chunk, which has grown


def test_of_a_text_that_has_changed_only_the_chunks_that_changed_are_read(pair, town):
    write(town, TEXT * 9)
    run("compress", town, "-m", pair)
    write(town, TEXT * 4 + "A dog came by. " + TEXT * 5)
    said = run("compress", town, "-m", pair).said
    assert int(re.match(r"Reading town.txt: ([\d,]+) new characters", said)[1]) < len(TEXT)


def test_a_ratio_that_cannot_be_reached_is_explained(pair, town):
    said = run("compress", town, "-m", pair, "--ratio", 500).said
    assert "asked for 500 text tokens per soft token" in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-o", "kept.bin"], "must end in .e2llm"),
        (["-o", "missing/kept.e2llm"], "in a folder that exists"),
        (["-o", "folder.e2llm"], "must name a file"),
        (["--name", ""], "`--name` (='')"),
        (["--name", "two\nlines"], "must be one line of printable characters"),
        (["--name", "\udcff", "-o", "kept.e2llm"], "must be one line of printable characters"),
        (["second.txt", "-o", "kept.e2llm"], "`--output` goes with one file, and 2 are given"),
        (["second.txt", "--name", "both"], "`--name` goes with one file, and 2 are given"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_it_is_read(
    pair, town, tmp_path, home, options, words
):
    write(tmp_path / "second.txt")
    (tmp_path / "folder.e2llm").mkdir()
    assert words in run("compress", town, *options, "-m", pair).mistake
    assert not home.exists()
    assert not (tmp_path / "kept.e2llm").exists()


def test_a_document_larger_than_the_librarys_limit_is_an_error_and_still_answered_about(
    pair, town, home
):
    run("library", "limit", "100")
    result = run("compress", town, "-m", pair)
    assert result.code == 2
    last = result.stderr.splitlines()[-1]
    assert last.startswith("e2llm: `max_bytes` (=100): 'town.txt' alone takes ")
    asked = run("ask", town, "-m", pair, "-q", "Who?", *FEW)
    assert "'town.txt' is not stored" in asked.said
    assert asked.stdout.strip()
    assert stored_files(home) == []
