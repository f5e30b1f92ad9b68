"""`e2llm show`: what is inside a pair or a compressed document."""

import json

import pytest

from tests.cli.running import run
from tests.documents.files import write_pdf
from tests.tiny import TEXT


def test_a_pair_shows_its_parts_and_settings(pair, world):
    facts = run("show", pair, "--json").json
    assert facts["encoder_name"] == str(world / "encoder")
    assert facts["decoder_name"] == str(world / "decoder")
    assert (facts["adapter"], facts["pooling"], facts["trained"], facts["chunk_chars"]) == (
        "mlp",
        "mean",
        False,
        120,
    )
    assert facts["decoder_window"] == 512
    assert facts["files_bytes"] > 1000


def test_a_shipped_pair_is_shown_by_its_name_without_its_weights():
    assert run("show", "smol", "--json").json["encoder_name"].startswith("package:")


def test_the_lines_show_what_the_json_holds(pair):
    lines = dict(line.split(maxsplit=1) for line in run("show", pair).stdout.splitlines())
    facts = run("show", pair, "--json").json
    assert lines.keys() == facts.keys()
    assert lines["files_bytes"] == f"{facts['files_bytes']:,}"
    assert lines["adapter"] == facts["adapter"]


@pytest.mark.parametrize("stored", [False, True])
def test_a_document_is_shown_from_a_file_and_from_the_library(pair, town, stored):
    run("compress", town, "-m", pair, *([] if stored else ["-o", "town.e2llm"]))
    facts = run("show", "town.txt" if stored else "town.e2llm", "--json").json
    assert (facts["name"], facts["characters"], facts["pages"], facts["ratio_asked"]) == (
        "town.txt",
        len(TEXT),
        None,
        8,
    )
    assert facts["chunks_count"] > 4
    assert facts["tokens"] / facts["soft_tokens"] == pytest.approx(facts["ratio"], abs=0.01)
    assert "chunks" not in facts


def test_chunks_are_listed_with_their_places_and_pages(pair, tmp_path):
    write_pdf(tmp_path / "two.pdf", ["The mayor approved it.", "The bridge was built in 1887."])
    run("compress", "two.pdf", "-m", pair, "--chunk-chars", 30)
    facts = run("show", "two.pdf", "--chunks", "--json").json
    assert [(chunk["start"], chunk["end"], chunk["page"]) for chunk in facts["chunks"]] == [
        (0, 24, 1),
        (24, 53, 2),
    ]
    assert facts["pages"] == 2
    first, second = run("show", "two.pdf", "--chunks").stdout.splitlines()[-2:]
    assert first.split()[:2] == ["0", "0-24"]
    assert "page 2" in second
    assert second.endswith("The bridge was built in 1887.")


@pytest.mark.parametrize("name", ["nothing", "smal", "missing/folder", "x" * 5000])
def test_what_is_neither_pair_nor_document_is_refused(name):
    assert "is no pair, no .e2llm file and no stored document" in run("show", name).mistake


def test_a_folder_that_is_no_pair_is_refused(world, tmp_path):
    assert "is a bert model, not a pair" in run("show", world / "encoder").mistake
    assert "holds no readable config.json" in run("show", tmp_path).mistake
    (tmp_path / "config.json").write_text("{")
    assert "holds no readable config.json" in run("show", tmp_path).mistake
    (tmp_path / "config.json").write_text(json.dumps([1]))
    assert "holds no readable config.json" in run("show", tmp_path).mistake
