"""The names that people read in place of specifications."""

import pytest

from e2llm.evaluation.names import name_of, names_of


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("e2llm", "E2LLM, default"),
        ("e2llm-paper", "E2LLM, one soft token per chunk"),
        ("e2llm:ratio=chunk:expand=0", "E2LLM, one soft token per chunk"),
        ("e2llm:ratio=chunk", "E2LLM, one soft token per chunk, default expansion"),
        (
            "e2llm:ratio=chunk:expand=4:chunk_chars=2048",
            "E2LLM, one soft token per chunk of 2,048 characters, 4 chunks expanded",
        ),
        ("e2llm:ratio=8:expand=0", "E2LLM, ratio 8, soft tokens only"),
        ("e2llm-16", "E2LLM, ratio 16, soft tokens only"),
        ("e2llm-16:expand=1", "E2LLM, ratio 16, 1 chunk expanded"),
        ("e2llm:expand=0:chunking=semantic", "E2LLM, soft tokens only, semantic chunking"),
        ("e2llm:window_chunks=4", "E2LLM, 4 chunks encoded together"),
        ("e2llm:overlap_chars=64", "E2LLM, overlap of 64 characters"),
        ("full-text", "Whole text (ceiling)"),
        ("no-document", "No document (floor)"),
        ("rag", "RAG, as many positions"),
        ("rag:ratio=100000:expand=4", "RAG, 4 chunks"),
        ("rag:ratio=8:expand=4", "RAG, as many positions as E2LLM, ratio 8, 4 chunks expanded"),
        (
            "rag:ratio=chunk:expand=0",
            "RAG, as many positions as E2LLM, one soft token per chunk",
        ),
        ("head", "Head of the text"),
        ("yarn:factor=8", "YaRN, factor 8"),
        ("cepe:text_tokens=256:weights=runs/cepe", "CEPE (fitted), text tokens 256"),
        ("e2llm:expand", "E2LLM"),  # the setting that a figure varies
        ("rag @ large", "RAG, as many positions @ large"),
        ("mine:depth=3", "mine:depth=3"),
    ],
)
def test_a_specification_has_a_name_and_an_unknown_one_is_its_own(spec, name):
    assert name_of(spec) == name


def test_methods_that_would_share_a_name_are_told_apart():
    names = names_of(["e2llm-paper", "e2llm:ratio=chunk:expand=0", "rag"])
    assert names == {
        "e2llm-paper": "E2LLM, one soft token per chunk (e2llm-paper)",
        "e2llm:ratio=chunk:expand=0": "E2LLM, one soft token per chunk "
        "(e2llm:ratio=chunk:expand=0)",
        "rag": "RAG, as many positions",
    }
