"""`e2llm library`: list, rename, delete and limit stored documents."""

import pytest

from tests.cli.running import FEW, run, stored_files, write
from tests.tiny import TEXT


@pytest.fixture
def three(pair, tmp_path):
    """Three stored documents: a.txt, b.txt, c.txt."""
    for name in "abc":
        assert run("compress", write(tmp_path / f"{name}.txt", TEXT + name), "-m", pair).code == 0


def test_an_empty_library_is_listed_and_not_made(home):
    result = run("library", "list")
    assert (result.stdout, result.said) == ("", "0 documents, 0.0 MB.\n")
    assert run("library", "list", "--json").json == []
    assert not home.exists()


def test_the_list_names_every_document_with_its_sizes(three):
    result = run("library", "list")
    lines = result.stdout.splitlines()
    assert [line.split("  ")[1] for line in lines] == ["a.txt", "b.txt", "c.txt"]
    assert all("tokens" in line and "soft" in line and "ratio 8" in line for line in lines)
    assert result.said.startswith("3 documents, ")
    entries = run("library", "list", "--json").json
    assert [entry["name"] for entry in entries] == ["a.txt", "b.txt", "c.txt"]
    assert all(
        line.startswith(entry["key"][:12]) for line, entry in zip(lines, entries, strict=True)
    )


def test_a_renamed_document_is_asked_by_its_new_name(three, pair):
    assert "report [x]" in run("library", "rename", "a.txt", "report [x]").stdout
    assert "[report [x]: " in run("ask", "report [x]", "-m", pair, "-q", "Who?", *FEW).said
    stored = [entry["name"] for entry in run("library", "list", "--json").json]
    assert stored == ["b.txt", "c.txt", "report [x]"]


def test_deleted_documents_are_gone_and_their_files_stay(three, tmp_path, home):
    key = run("library", "list", "--json").json[1]["key"]
    said = run("library", "delete", "a.txt", key[:10]).said
    assert said == f"a.txt: 1 deleted.\n{key[:10]}: 1 deleted.\n"
    assert [entry["name"] for entry in run("library", "list", "--json").json] == ["c.txt"]
    assert len(stored_files(home)) == 1
    assert (tmp_path / "a.txt").exists()


def test_a_limit_lets_go_of_what_was_used_least_recently(three, pair, home):
    run("ask", "a.txt", "-m", pair, "-q", "Who?", *FEW)
    n_bytes = run("library", "list", "--json").json[0]["n_bytes"]
    assert run("library", "limit", n_bytes * 2 + 500).said.endswith("; 1 documents went.\n")
    assert [entry["name"] for entry in run("library", "list", "--json").json] == ["a.txt", "c.txt"]
    assert run("library", "limit", "none").code == 0


@pytest.mark.parametrize("size", ["500M", "2g", "1.5 GB", "100", "NONE", "12kb"])
def test_a_limit_is_a_number_of_bytes_with_or_without_a_unit(size):
    assert run("library", "limit", size).said == f"Limited to {size}; 0 documents went.\n"


@pytest.mark.parametrize("size", ["12x", "-1", "", "0", "1e3", "99999999999T", "inf"])
def test_what_is_no_limit_is_refused(size):
    message = run("library", "limit", "--", size).mistake
    assert f"(={size})" in message or "`max_bytes`" in message


@pytest.mark.parametrize("verb", [["rename", "a.tx", "b"], ["delete", "a.tx"]])
def test_an_unknown_name_suggests_the_nearest(three, verb):
    assert "did you mean 'a.txt'" in run("library", *verb).mistake


def test_a_name_must_be_one_line(three):
    assert "must be one line" in run("library", "rename", "a.txt", "two\nlines").mistake


def test_a_file_in_the_place_of_the_library_is_an_error_of_one_line(
    tmp_path, monkeypatch, town, pair
):
    monkeypatch.setenv("E2LLM_HOME", str(write(tmp_path / "file")))
    for argv in (
        ["library", "list"],
        ["compress", town, "-m", pair],
        ["ask", town, "-m", pair, "-q", "Who?"],
    ):
        assert "the library cannot be" in run(*argv).failure
