"""Ablations: a variant differs from its base in one thing; whole ablations and searches of a tiny
pair.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from e2llm.errors import E2LLMError, MissingPackageError, UserError
from e2llm.evaluation import ablations
from e2llm.evaluation.ablations import ABLATIONS, ablate, in_chunks, search, shortened
from e2llm.evaluation.report import make_report
from e2llm.evaluation.results import read_results
from e2llm.methods import make_method
from e2llm.pair import E2LLM
from e2llm.training import stages
from e2llm.training.data.records import QuestionRecord
from e2llm.training.recipe import Recipe, build
from tests.training import writing

STAGES = (
    writing.stage(
        "align",
        steps=2,
        evaluate_every=1,
        learning_rates={"adapter": 5e-3},
        tasks={"alignment": {}},
        ratios=[1],
    ),
    writing.stage(
        "read",
        steps=2,
        evaluate_every=1,
        tasks={"understanding": {"weight": 0.5, "chunks": [1, 2]}, "reasoning": {}},
    ),
)


@pytest.fixture(scope="module")
def recipe(bases, tmp_path_factory) -> Recipe:
    """A base recipe of two stages."""
    folder = tmp_path_factory.mktemp("ablation")
    return build(
        Recipe,
        writing.recipe(bases, writing.write_data(folder / "data"), folder / "base", *STAGES),
        "recipe",
    )


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    """Curves have a test of their own."""
    monkeypatch.setattr(stages, "_plot", lambda output, say: None)


def lines(*_):
    """Say nothing."""


# Recipes


@pytest.mark.parametrize(
    ("name", "value", "changed"),
    [
        ("understanding-weight", 10, ["stages[1].tasks.understanding.weight: 0.5 -> 10.0"]),
        ("lora", "both", []),
        ("lora", "encoder", ["stages[1].learning_rates.decoder: 0.005 -> absent"]),
        ("lora", "decoder", ["stages[1].learning_rates.encoder: 0.002 -> absent"]),
        (
            "lora",
            "none",
            [
                "stages[1].learning_rates.decoder: 0.005 -> absent",
                "stages[1].learning_rates.encoder: 0.002 -> absent",
            ],
        ),
        ("adapter", "vpma", ["pair.adapter: absent -> vpma"]),
        ("pooling", "cls", ["pair.pooling: absent -> cls"]),
        ("ratio", "chunk", ["pair.ratio: 4 -> chunk", "stages[1].ratios: [2, 4] -> ['chunk']"]),
        ("overlap-chars", 32, ["pair.overlap_chars: absent -> 32"]),
        ("window", 2, ["pair.window_chunks: absent -> 2"]),
        ("decoder", "other", None),
        ("encoder", "other", None),
    ],
)
def test_a_variant_differs_from_its_base_in_one_thing(recipe, name, value, changed):
    change = ABLATIONS[name].change
    assert change is not None
    found = sorted(change(recipe, value).difference(recipe.as_dict()))
    assert (
        found == changed
        if changed is not None
        else [line.split(":")[0] for line in found] == [f"pair.{name}"]
    )


def test_every_ablation_but_those_of_reading_and_the_parts_has_values_that_make_recipes(recipe):
    for name, ablation in ABLATIONS.items():
        assert ablation.values or name in ("encoder", "decoder")
        assert (
            all(ablation.change(recipe, value).stages for value in ablation.values)
            if ablation.change
            else name in ("expand", "chunking")
        )


@pytest.mark.parametrize(
    ("chars", "stage", "task"),
    [(60, (2, 6), (2, 4)), (120, (1, 3), (1, 2)), (240, (1, 2), (1, 1)), (2_000, (1, 1), (1, 1))],
)
def test_samples_hold_the_same_text_whatever_the_size_of_a_chunk(recipe, chars, stage, task):
    own = in_chunks(recipe, chars)
    assert own.pair["chunk_chars"] == chars
    assert (own.stages[1].chunks, own.stages[1].tasks["understanding"].chunks) == (stage, task)
    assert own.stages[1].tasks["reasoning"].chunks is None


def test_a_stage_that_trains_nothing_any_more_falls_away(recipe):
    alone = replace(recipe.stages[1], name="decoder alone", learning_rates={"decoder": 1e-3})
    own = ablations.train_lora(replace(recipe, stages=(*recipe.stages, alone)), "encoder")
    assert [stage.name for stage in own.stages] == ["align", "read"]


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


def test_a_recipe_without_understanding_has_no_weight_of_it(recipe):
    with pytest.raises(UserError, match="no stage with the task understanding"):
        ablations.weigh_understanding(replace(recipe, stages=recipe.stages[:1]), 1)


# Whole ablations


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


def test_chunks_of_another_size_hold_the_text_that_those_of_the_pair_to_go_on_from_held(recipe):
    trained = replace(recipe, pair={"model": "smol"})  # chunks of 512 characters
    own = in_chunks(trained, 1024)
    assert own.pair == {"model": "smol", "chunk_chars": 1024}
    assert own.stages[1].chunks == tuple(max(1, round(n / 2)) for n in recipe.stages[1].chunks)


def test_a_recipe_that_goes_on_from_a_pair_expands_that_pair(recipe):
    assert (
        ablations.trained_pair(replace(recipe, output="nowhere", pair={"model": "smol"})) == "smol"
    )
    with pytest.raises(UserError, match="train it first"):
        ablations.trained_pair(
            replace(recipe, output="nowhere", pair={"model": "smol", "chunk_chars": 1024})
        )


# The search


def test_a_search_keeps_every_trial_goes_on_and_ends_with_its_front(recipe, tmp_path):
    pytest.importorskip("optuna")
    search_front = pytest.importorskip("e2llm.evaluation.plots").search_front
    search(recipe, tmp_path, 1, steps=1, say=lines)
    front = search(recipe, tmp_path, 3, steps=1, say=lines)
    trials = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    assert [trial["trial"] for trial in trials] == [0, 1, 2]
    _, validation = stages.open_sources(recipe)
    for trial in trials:
        assert 128 <= trial["chunk_chars"] <= 2048
        assert trial["chunking"] == "fixed" or trial["overlap_chars"] == 0
        pair = E2LLM.from_pretrained(tmp_path / f"trial-{trial['trial']}" / "pair", dtype="float32")
        chunker = pair.chunker if trial["chunking"] == "fixed" else pair.semantic_chunker()
        assert (pair.chunker.size, pair.chunker.overlap) == (
            trial["chunk_chars"],
            trial["overlap_chars"],
        )
        records = ablations.held_out(validation[1:], pair, recipe.validation_samples, 0)
        documents = [
            pair.compress(record.context, ratio=trial["ratio"], chunker=chunker)
            for record in records
        ]
        n_tokens = sum(len(pair.processor.text_ids(record.context)) for record in records)
        assert trial["soft_tokens_per_token"] == pytest.approx(
            sum(document.n_soft for document in documents) / n_tokens, abs=1e-4
        )
        method = make_method(
            f"e2llm:ratio={trial['ratio']}:expand=0:chunking={trial['chunking']}", pair
        )
        nats = [
            method.score(method.read(record.context), record.question, record.answers[0]).mean()
            for record in records
        ]
        assert trial["validation"] == pytest.approx(float(sum(nats)) / len(nats), abs=1e-4)
    # By hand: what no other trial beats in both.
    both = [(trial["validation"], trial["soft_tokens_per_token"]) for trial in trials]
    best = {
        own
        for own in both
        if not any(other != own and other[0] <= own[0] and other[1] <= own[1] for other in both)
    }
    assert {(line["validation"], line["soft_tokens_per_token"]) for line in front} == best
    assert search(recipe, tmp_path, 3, steps=1, say=lines) == front
    assert (tmp_path / "search.png").read_bytes().startswith(b"\x89PNG")
    axis = search_front(trials, front).axes[0]
    assert sorted(map(tuple, axis.collections[0].get_offsets())) == sorted(
        pair[::-1] for pair in both
    )
    assert [text.get_text().rpartition(" ")[2] for text in axis.texts] == [
        str(line["ratio"]) for line in front
    ]
    with pytest.raises(UserError, match=r"search over another recipe .seed: 0 -> 1"):
        search(replace(recipe, seed=1), tmp_path, 4, steps=1, say=lines)


def test_a_search_whose_trials_all_fail_has_no_front(recipe, tmp_path, monkeypatch):
    pytest.importorskip("optuna")

    def fail(*_):
        raise E2LLMError("no memory")

    monkeypatch.setattr(ablations, "run", fail)
    assert search(recipe, tmp_path, 2, steps=1, say=lines) == []
    assert not (tmp_path / "search.png").exists()


def test_held_out_questions_are_of_all_sources_by_turns_and_fit_the_window(recipe, pair):
    class Questions(list):
        kind = "question"

        def permutation(self, seed, epoch):
            return np.random.default_rng([seed, epoch]).permutation(len(self))

    def questions(name, n_chars):
        return Questions(
            QuestionRecord(f"{name}{n}", "x" * n_chars, "Why?", ("So.",), name) for n in range(9)
        )

    sources = [questions("short", 100), questions("long", 10_000), questions("other", 1_000)]
    chosen = ablations.held_out(sources, pair, 6, 0)
    assert [record.source for record in chosen] == ["short", "other"] * 3
    assert (
        chosen == ablations.held_out(sources, pair, 6, 0) != ablations.held_out(sources, pair, 6, 1)
    )
    with pytest.raises(E2LLMError, match="short enough"):
        ablations.read_held_out(pair, "e2llm", ablations.held_out(sources[1:2], pair, 6, 0))


def test_a_search_needs_questions(recipe, tmp_path):
    pytest.importorskip("optuna")
    texts = replace(recipe, sources=recipe.sources[:1], stages=recipe.stages[:1])
    with pytest.raises(UserError, match="add a source of questions"):
        search(texts, tmp_path, 1, say=lines)


def test_without_optuna_it_is_said_how_to_get_it(recipe, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'e2llm\[eval\]'"):
        search(recipe, tmp_path, 1, say=lines)
