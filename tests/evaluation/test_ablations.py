"""Whole ablations of a tiny pair."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from e2llm.errors import UserError
from e2llm.evaluation import ablations
from e2llm.evaluation.ablations import ablate, shortened
from e2llm.evaluation.report import make_report
from e2llm.evaluation.results import read_results
from e2llm.training import stages

pytestmark = pytest.mark.usefixtures("no_curves")


def lines(*_):
    """Say nothing."""


def test_steps_are_cut_and_never_added(recipe):
    assert [stage.steps for stage in shortened(recipe, 1).stages] == [1, 1]
    assert shortened(recipe, 100).stages == recipe.stages
    assert shortened(recipe, None) is recipe


@pytest.mark.parametrize(
    ("name", "values", "changes", "words"),
    [
        ("adaptr", (), {}, "did you mean 'adapter'"),
        ("encoder", (), {}, "`values` must name"),
        ("lora", ("left",), {}, "must be both, encoder, decoder or none"),
        ("ratio", (0.1,), {}, "`ratio` .=0.1."),
        ("expand", (), {}, "train it first"),
        ("adapter", ("vpma",), {"benchmarks": ["sqad"]}, "did you mean 'squad'"),
        ("adapter", ("vpma",), {"steps": 0}, "`steps`"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(
    recipe, tmp_path, name, values, changes, words
):
    with pytest.raises(UserError, match=words):
        ablate(name, recipe, tmp_path / "out", values, say=lines, **changes)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def done(recipe, data, tmp_path_factory) -> tuple[Path, list[ablations.Variant]]:
    """Two ratios, trained and measured."""
    output = tmp_path_factory.mktemp("done")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "_plot", lambda output, say: None)
        return output, ablate(
            "ratio", recipe, output, (2, "chunk"), methods=["no-document"], data=data, say=lines
        )


def test_every_variant_has_its_run_its_results_and_its_scores(done):
    output, variants = done
    assert [variant.value for variant in variants] == [2, "chunk"]
    for variant in variants:
        assert variant.folder == output / f"ratio={variant.value}"
        assert variant.validation == least_loss_by_hand(variant.folder / "run" / "2-read")
        assert list(variant.scores) == ["squad: f1"]
        results = read_results(variant.folder / "results")
        assert {cell["method"] for cell in results.cells} == {"no-document", "e2llm:expand=0"}
        assert results.runs[0]["model"] == f"ratio={variant.value}"
        assert results.runs[0]["pair"]["ratio"] == variant.value
    positions = [
        [
            cell["n_soft"]
            for cell in read_results(variant.folder / "results").cells
            if cell["method"] != "no-document"
        ]
        for variant in variants
    ]
    assert min(positions[0]) > max(positions[1])


def least_loss_by_hand(stage):
    return min(
        line["eval_decisive"]
        for line in map(json.loads, (stage / "log.jsonl").read_text().splitlines())
        if "eval_decisive" in line
    )


def test_a_report_sets_the_variants_side_by_side(done, tmp_path):
    make_report([variant.folder / "results" for variant in done[1]], tmp_path)
    table = (tmp_path / "tables" / "squad.md").read_text()
    assert "ratio=2" in table
    assert "ratio=chunk" in table


def test_what_is_there_is_not_done_again(done, recipe, data):
    output, variants = done
    before = {path: path.read_bytes() for path in output.rglob("*/results/*")}
    logs = {path: path.stat().st_mtime_ns for path in output.rglob("log.jsonl")}
    again = ablate(
        "ratio", recipe, output, (2, "chunk"), methods=["no-document"], data=data, say=lines
    )
    assert again == variants
    assert {path: path.read_bytes() for path in before} == before
    assert {path: path.stat().st_mtime_ns for path in logs} == logs


def test_another_recipe_is_not_mixed_in(done, recipe, data):
    with pytest.raises(UserError, match="another recipe"):
        ablate("ratio", replace(recipe, seed=1), done[0], (2,), data=data, say=lines)


def test_expand_reads_the_trained_pair_and_trains_nothing(done, recipe, data, tmp_path):
    base = replace(recipe, output=str(done[0] / "ratio=2" / "run"))
    [one] = ablate(
        "expand", base, tmp_path / "one", (0,), methods=[], data=data, say=lines, samples=1
    )
    assert len(read_results(one.folder / "results").cells) == 2  # one of each of squad's lengths
    variants = ablate("expand", base, tmp_path, (0, 2), methods=[], data=data, say=lines)
    assert [variant.validation for variant in variants] == [None, None]
    assert not list(tmp_path.rglob("run"))
    shown = [
        max(
            cell["positions"] - cell["n_soft"]
            for cell in read_results(variant.folder / "results").cells
        )
        for variant in variants
    ]
    assert shown[0] < shown[1]


def test_chunking_reads_the_trained_pair_in_fixed_and_in_semantic_chunks(
    done, recipe, data, tmp_path
):
    base = replace(recipe, output=str(done[0] / "ratio=2" / "run"))
    variants = ablate("chunking", base, tmp_path, methods=[], data=data, say=lines)
    assert [variant.value for variant in variants] == ["fixed", "semantic"]
    assert not list(tmp_path.rglob("run"))
    reads = [read_results(variant.folder / "results").cells for variant in variants]
    assert [{cell["settings"]["chunking"] for cell in cells} for cells in reads] == [
        {"fixed"},
        {"semantic"},
    ]
    for fixed, semantic in zip(*reads, strict=True):
        assert (
            semantic["read_flops"] > 1.5 * fixed["read_flops"]
        )  # the sentences are read beside the chunks
    scores = [[cell["scores"]["nats"] for cell in cells] for cells in reads]
    assert scores[0] != scores[1]


def test_a_recipe_that_goes_on_from_a_pair_expands_that_pair(recipe):
    assert (
        ablations.trained_pair(replace(recipe, output="nowhere", pair={"model": "smol"})) == "smol"
    )
    with pytest.raises(UserError, match="train it first"):
        ablations.trained_pair(
            replace(recipe, output="nowhere", pair={"model": "smol", "chunk_chars": 1024})
        )
