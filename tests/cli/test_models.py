"""`e2llm models`: which pairs are installed."""

import importlib.metadata

import e2llm
from tests.cli.running import run


def test_the_shipped_pairs_are_listed_with_their_bases_and_whether_they_are_installed():
    lines = run("models").stdout.splitlines()
    assert lines[0].startswith("smol  ")
    assert "installed" in lines[0] or "e2llm models --fetch" in lines[0]
    assert lines[1].startswith("  encoder package:")
    assert lines[2].startswith("  decoder package:")


def test_json_adds_the_versions_underneath():
    facts = run("models", "--json").json
    assert facts["pairs"][0]["name"] == "smol"
    assert isinstance(facts["pairs"][0]["installed"], bool)
    assert facts["versions"]["e2llm"] == e2llm.__version__
    assert facts["versions"]["transformers"] == importlib.metadata.version("transformers")
