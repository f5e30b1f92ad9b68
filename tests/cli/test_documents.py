"""Documents on the command line: nothing is read twice."""

import re
from itertools import pairwise

from e2llm import CompressedDocument
from tests.cli.asking import Q
from tests.cli.running import FEW, run, stored_files, write
from tests.tiny import TEXT


def test_the_second_question_to_a_file_does_not_read_it_again(pair, town):
    assert "Reading town.txt" in run("ask", town, "-m", pair, *Q, *FEW).said
    again = run("ask", town, "-m", pair, "-q", "What was built?", *FEW)
    assert "Reading" not in again.said
    assert "read before" in again.said


def test_a_copy_of_what_was_read_is_not_read_again_and_keeps_its_own_name(pair, town, tmp_path):
    run("ask", town, "-m", pair, *Q, *FEW)
    result = run("ask", write(tmp_path / "copy.txt"), "-m", pair, *Q, *FEW)
    assert "Reading" not in result.said
    assert result.said.startswith("[copy.txt: ")
    assert "town" not in result.said


def test_of_a_file_that_has_grown_only_the_tail_is_read_and_the_whole_is_as_if_fresh(
    pair, tmp_path, home
):
    log = write(tmp_path / "log.txt", TEXT * 3)
    run("ask", log, "-m", pair, *Q, *FEW)
    write(log, TEXT * 4)
    grown = run("ask", log, "-m", pair, *Q, *FEW)
    n_new = int(re.match(r"Reading log.txt: (\d+) new characters", grown.said)[1])
    assert len(TEXT) <= n_new <= len(TEXT) + 120  # with the last chunk, which has grown
    file = tmp_path / "fresh.e2llm"
    assert run("compress", log, "-m", pair, "--dtype", "float32", "-o", file).code == 0
    fresh = CompressedDocument.load(file)
    stored = CompressedDocument.load(home / "library" / f"{fresh.key}.e2llm")
    assert (stored.name, stored.text, stored.ratio) == (fresh.name, fresh.text, fresh.ratio)
    for field in ("spans", "n_soft_per_chunk", "n_tokens_per_chunk"):
        assert (getattr(stored, field) == getattr(fresh, field)).all()
    assert (stored.soft_tokens - fresh.soft_tokens).abs().max() < 1e-5


def test_the_tail_is_enough_too_where_the_file_was_read_in_another_way_since(pair, tmp_path):
    log = write(tmp_path / "log.txt", TEXT * 3)
    for ratio in (8, 4):
        run("ask", log, "-m", pair, *Q, *FEW, "--ratio", ratio)
    write(log, TEXT * 4)
    assert " new characters" in run("ask", log, "-m", pair, *Q, *FEW, "--ratio", 8).said


def test_another_ratio_window_or_chunk_size_is_another_document(pair, town, home):
    others = (["--ratio", 4], ["--window", 3], ["--chunk-chars", 60], ["--overlap-chars", 20])
    for options in ([], *others):
        assert "Reading" in run("ask", town, "-m", pair, *Q, *FEW, *options).said
    assert len(stored_files(home)) == 5


def test_chunk_chars_and_overlap_chars_cut_the_text(pair, town, tmp_path):
    cut = ("--chunk-chars", 60, "--overlap-chars", 20)
    file = tmp_path / "town.e2llm"
    run("compress", town, "-m", pair, *cut, "--window", 1, "-o", file)
    document = CompressedDocument.load(file)
    spans = document.spans.tolist()
    assert (document.chunker.size, document.chunker.overlap) == (60, 20)
    assert all(end - start <= 60 for start, end in spans)
    assert all(before[1] - after[0] == 20 for before, after in pairwise(spans))
    answered = run("ask", town, "-m", pair, *Q, *FEW, *cut, "--json").json
    assert all([chunk["start"], chunk["end"]] in spans for chunk in answered["expanded"])


def test_no_store_stores_nothing(pair, town, home):
    for _ in range(2):
        assert "Reading" in run("ask", town, "-m", pair, *Q, *FEW, "--no-store").said
    assert not home.exists()


def test_no_store_still_finds_a_stored_document_that_is_named(pair, town, home):
    run("compress", town, "-m", pair)
    before = stored_files(home)
    town.unlink()
    assert "read before" in run("ask", "town.txt", "-m", pair, *Q, *FEW, "--no-store").said
    assert stored_files(home) == before


def test_the_library_of_the_option_is_used(pair, town, tmp_path, home):
    options = ("-m", pair, *Q, *FEW, "--library", tmp_path / "elsewhere")
    run("ask", town, *options)
    assert not home.exists()
    assert "read before" in run("ask", town, *options).said


def test_small_files_are_read_together_and_kept_each_for_itself(pair, tmp_path, home):
    files = [write(tmp_path / f"n{place}.txt", f"Note {place}: Ann paid.") for place in range(5)]
    said = run("compress", *files, "-m", pair).said
    assert said.startswith("Read 5 documents, n0.txt to n4.txt: ")
    assert said.count(" tokens of text") == 5
    assert len(stored_files(home)) == 5
    again = run("compress", *files, "-m", pair).said
    assert again.count("read before") == 5
    asked = run("ask", *files, "-m", pair, *Q, *FEW).said
    assert "Read 5" not in asked
    by_name = run("ask", "n1.txt", "n3.txt", "-m", pair, *Q, *FEW).said
    assert "read before" in by_name


def test_the_same_text_twice_is_read_once_and_found_under_both_names(pair, tmp_path):
    one, other = (write(tmp_path / name, "Ann paid.") for name in ("one.txt", "other.txt"))
    said = run("compress", one, other, "-m", pair).said
    assert said.count("read before") == 1
    assert "other.txt: " in run("ask", "other.txt", "-m", pair, *Q, *FEW).said
