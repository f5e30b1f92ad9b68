"""The runner: every method over every benchmark, resuming, and what cannot run or be had."""

import json
import sys
from pathlib import Path

import pytest

from e2llm.benchmarks import BENCHMARKS
from e2llm.benchmarks.base import Sample
from e2llm.benchmarks.data import Data
from e2llm.errors import MissingPackageError, UserError
from e2llm.evaluation import costs, jobs, metrics, runner
from e2llm.evaluation.results import read_results
from e2llm.evaluation.runner import evaluate
from e2llm.methods import METHODS
from e2llm.methods.bounds.no_document import NoDocument
from tests.benchmarks.small import make_data

NAMES = ["no-document", "e2llm", "full-text"]


def lines(folder: Path) -> list[dict]:
    return [
        json.loads(line)
        for path in sorted(folder.iterdir())
        for line in path.read_text().splitlines()
    ]


@pytest.mark.parametrize("benchmark", BENCHMARKS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_over_every_benchmark(results, method, benchmark):
    cells = [
        cell for cell in results.cells if (cell["method"], cell["benchmark"]) == (method, benchmark)
    ]
    assert cells
    for cell in cells:
        assert "skipped" not in cell, cell["skipped"]
        assert cell["positions"] > 0
        assert cell["n_answer_tokens"] <= 3
        assert ("nats" in cell["scores"]) == BENCHMARKS[benchmark].perplexity
        assert cell["groups"]["bucket"]


def test_the_nats_of_every_token_stand_with_where_chunks_begin(results, trained_pair):
    cells = [cell for cell in results.cells if cell["benchmark"] == "reconstruction"]
    for cell in cells:
        assert cell["chunk_starts"][0] == 0
        assert cell["chunk_starts"] == sorted(set(cell["chunk_starts"]))
        assert cell["chunk_starts"][-1] < len(cell["token_nats"])
        assert sum(cell["token_nats"]) / len(cell["token_nats"]) == pytest.approx(
            cell["scores"]["nats"], abs=1e-3
        )


def test_a_file_says_what_it_was_run_on(results, trained_pair):
    run = results.runs[0]
    assert run["versions"]["torch"]
    assert run["machine"]["cores"]
    assert (run["scale"], run["seed"], run["dtype"], run["device"]) == (
        "quick",
        0,
        "float32",
        "cpu",
    )
    assert run["methods"]["e2llm-16"] == {
        "role": "",
        "settings": {
            "ratio": 16,
            "expand": 0,
            "chunk_chars": None,
            "overlap_chars": None,
            "window_chunks": None,
            "chunking": "fixed",
        },
    }
    assert run["pair"]["decoder_name"] == trained_pair.config.decoder_name


def test_a_number_of_samples_is_drawn_of_each_length_and_can_be_raised(
    trained_pair, data, tmp_path
):
    def cells(n: int) -> dict[str, int]:
        evaluate(trained_pair, ["no-document"], ["squad"], tmp_path, data=data, samples=n)
        return {
            cell["sample"]: cell["groups"]["paragraphs"] for cell in read_results(tmp_path).cells
        }

    one = cells(1)
    assert sorted(one.values()) == [1, 8]
    two = cells(2)
    assert sorted(two.values()) == [1, 1, 8, 8]
    assert one.items() < two.items()
    assert [run["samples"] for run in read_results(tmp_path).runs] == [1, 2]
    whole = BENCHMARKS["squad"].load("quick", 0, data)
    assert runner.draw(whole, None, 0, "paragraphs") == whole
    assert runner.draw(whole, 2, 0, "paragraphs") == [
        sample for sample in whole if sample in runner.draw(whole, 2, 0, "paragraphs")
    ]
    assert (
        len(
            {
                tuple(sample.id for sample in runner.draw(whole, 1, seed, "paragraphs"))
                for seed in range(9)
            }
        )
        > 1
    )
    with pytest.raises(UserError, match="`samples`"):
        cells(0)


def test_samples_are_drawn_of_each_length_whatever_else_tells_them_apart():
    groups = [{"length": 4, "paragraphs": n} for n in range(5)] + [
        {"length": 8, "depth": n} for n in range(3)
    ]
    samples = [
        Sample(str(n), "text", "?", ("a",), own)
        for n, own in enumerate([*groups, {"source": "a"}, {}])
    ]
    drawn = runner.draw(samples, 2, 0, "length")
    assert [sample.groups.get("length") for sample in drawn] == [4, 4, 8, 8, None, None]


def comparable(folder: Path) -> list[dict]:
    """Return what does not depend on the clock of every cell, in order."""
    kept = ("method", "benchmark", "sample", "answer", "scores", "positions", "flops")
    return sorted(
        ({name: cell[name] for name in kept} for cell in read_results(folder).cells), key=json.dumps
    )


def test_an_interrupted_run_resumes_at_the_next_cell_and_ends_as_an_uninterrupted_one(
    trained_pair, data, short, tmp_path, monkeypatch
):
    # Stopped between two documents: in the middle of one, its cache is lost.
    names = ["squad", "qmsum", "needle"]
    evaluate(trained_pair, NAMES, names, tmp_path / "whole", data=data)
    measured = jobs.measure

    def interrupted(*arguments):
        if (tmp_path / "parts").exists() and len(lines(tmp_path / "parts")) == 8:
            raise KeyboardInterrupt
        return measured(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "measure", interrupted)
        with pytest.raises(KeyboardInterrupt):
            evaluate(trained_pair, NAMES, names, tmp_path / "parts", data=data)
    [first] = (tmp_path / "parts").iterdir()
    before = first.read_bytes()
    outcome = evaluate(trained_pair, NAMES, names, tmp_path / "parts", data=data)
    assert outcome.n_kept == 7
    assert first.read_bytes() == before
    assert comparable(tmp_path / "parts") == comparable(tmp_path / "whole")
    again = evaluate(trained_pair, NAMES, names, tmp_path / "parts", data=data)
    assert (again.n_done, again.n_kept) == (0, outcome.n_done + 7)


def test_a_half_written_line_is_dropped_and_run_again(trained_pair, data, short, tmp_path):
    evaluate(trained_pair, NAMES, ["squad"], tmp_path, data=data)
    whole = comparable(tmp_path)
    [path] = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-30])
    assert len(read_results(tmp_path).cells) == len(whole) - 1
    outcome = evaluate(trained_pair, NAMES, ["squad"], tmp_path, data=data)
    assert (outcome.n_done, outcome.n_kept) == (1, len(whole) - 1)
    assert comparable(tmp_path) == whole


def test_a_run_that_ended_in_its_first_line_counts_for_nothing(trained_pair, data, short, tmp_path):
    (tmp_path / "20250101T000000.jsonl").write_text('{"kind": "run", "mod')
    assert evaluate(trained_pair, ["no-document"], ["squad"], tmp_path, data=data).n_done == 2
    assert len(read_results(tmp_path).cells) == 2


def test_a_damaged_line_in_the_middle_is_told(folder, tmp_path):
    text = next(folder.iterdir()).read_text().splitlines()
    (tmp_path / "damaged.jsonl").write_text("\n".join([text[0], text[1][:-9], text[2]]))
    with pytest.raises(UserError, match="line 2"):
        read_results(tmp_path)


def test_a_folder_without_results_is_told(tmp_path):
    with pytest.raises(UserError, match="no results"):
        read_results(tmp_path)


@pytest.mark.parametrize("change", [{"seed": 1}, {"scale": "full"}, {"pair": "other"}])
def test_results_of_another_run_are_not_added_to(
    folder, trained_pair, make_pair, data, short, change
):
    pair = make_pair(trained=True, seed=1) if change.pop("pair", None) else trained_pair
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError, match="name another folder"):
        evaluate(pair, NAMES, ["squad"], folder, data=data, **change)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_methods_and_benchmarks_may_come_later(trained_pair, data, short, tmp_path):
    evaluate(trained_pair, ["no-document"], ["squad"], tmp_path, data=data)
    outcome = evaluate(
        trained_pair, ["no-document", "e2llm:ratio=2"], ["squad", "needle"], tmp_path, data=data
    )
    assert (outcome.n_kept, outcome.n_done) == (2, 6)


def test_a_benchmark_without_data_is_named_and_the_rest_goes_on(trained_pair, short, tmp_path):
    outcome = evaluate(
        trained_pair,
        ["no-document"],
        ["quality", "squad"],
        tmp_path / "r",
        data=make_data(tmp_path / "data", ("squad",)),
    )
    assert list(outcome.missing) == ["quality"]
    assert "no folder quality" in outcome.missing["quality"]
    assert outcome.n_done == 2
    assert read_results(tmp_path / "r").missing == outcome.missing


def test_a_method_without_its_package_is_named_and_the_rest_goes_on(
    trained_pair, data, short, tmp_path, monkeypatch
):
    def make(pair, **settings):
        raise MissingPackageError("needs llmlingua: pip install 'e2llm[llmlingua]'.")

    monkeypatch.setitem(METHODS, "llmlingua", make)
    outcome = evaluate(trained_pair, ["llmlingua", "no-document"], ["squad"], tmp_path, data=data)
    assert (outcome.n_done, outcome.missing) == (
        2,
        {"llmlingua": "needs llmlingua: pip install 'e2llm[llmlingua]'."},
    )


def test_a_metric_without_its_package_costs_its_benchmarks_and_no_cell(
    trained_pair, data, short, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", None)
    metrics._rouge_scorer.cache_clear()
    outcome = evaluate(trained_pair, ["no-document"], ["qmsum", "squad"], tmp_path, data=data)
    assert (outcome.n_done, outcome.n_skipped, list(outcome.missing)) == (2, 0, ["qmsum"])
    assert "rouge-score: pip install 'e2llm[eval]'" in outcome.missing["qmsum"]


def test_what_is_too_long_is_kept_as_skipped_with_the_reason(trained_pair, data, tmp_path):
    outcome = evaluate(trained_pair, ["full-text"], ["needle"], tmp_path, data=data)
    assert (outcome.n_done, outcome.n_skipped) == (0, 2)
    assert all(
        cell["skipped"].startswith("window: it needs ") for cell in read_results(tmp_path).cells
    )


def test_what_would_take_too_long_is_not_tried(trained_pair, data, short, tmp_path):
    outcome = evaluate(trained_pair, ["no-document"], ["squad"], tmp_path, data=data, limit_s=1e-9)
    assert outcome.n_skipped == 2
    assert all(cell["skipped"].startswith("time: ") for cell in read_results(tmp_path).cells)


def test_memory_that_runs_out_all_the_same_is_a_reason_and_any_other_failure_is_not(
    trained_pair, data, short, tmp_path, monkeypatch
):
    def fail(words):
        def keep(self, text):
            raise RuntimeError(words)

        monkeypatch.setattr(NoDocument, "keep", keep)

    fail("can't allocate memory: you tried to allocate 1 bytes")
    assert (
        evaluate(trained_pair, ["no-document"], ["squad"], tmp_path / "memory", data=data).n_skipped
        == 2
    )
    fail("a mistake of ours")
    with pytest.raises(RuntimeError, match="ours"):
        evaluate(trained_pair, ["no-document"], ["squad"], tmp_path / "mistake", data=data)


@pytest.mark.parametrize(
    ("methods", "benchmarks", "changes", "words"),
    [
        (["e2lm"], ["squad"], {}, "did you mean 'e2llm'"),
        (["e2llm"], ["sqad"], {}, "did you mean 'squad'"),
        (["e2llm"], ["squad"], {"scale": "quik"}, "did you mean 'quick'"),
    ],
)
def test_unknown_names_suggest_the_nearest_and_write_nothing(
    trained_pair, tmp_path, methods, benchmarks, changes, words
):
    with pytest.raises(UserError, match=words):
        evaluate(trained_pair, methods, benchmarks, tmp_path / "r", data=Data(), **changes)
    assert not (tmp_path / "r").exists()


def test_progress_comes_to_its_end(trained_pair, data, short, tmp_path, monkeypatch):
    monkeypatch.setattr(
        costs.Machine, "measure", classmethod(lambda cls, pair, limit_s: cls(token_s=1.0))
    )
    seen = []
    evaluate(
        trained_pair,
        ["no-document"],
        ["squad", "cost"],
        tmp_path,
        data=data,
        progress=lambda *state: seen.append(state[:2]),
    )
    assert seen[0][0] == 0
    assert seen[-1] == (12, 12)  # four answers of at most three tokens, a second each
    assert seen == sorted(seen)
    seen.clear()
    evaluate(
        trained_pair,
        ["no-document"],
        ["squad", "cost"],
        tmp_path,
        data=data,
        progress=lambda *state: seen.append(state[:2]),
    )
    assert seen == [(0, 0)]  # what is done already takes no time
