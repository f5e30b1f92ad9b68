"""The search for chunk size, overlap, ratio and chunking, on a tiny pair."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from e2llm.errors import E2LLMError, MissingPackageError, UserError
from e2llm.evaluation import search as searching
from e2llm.evaluation.search import held_out, read_held_out, search
from e2llm.methods import make_method
from e2llm.pair import E2LLM
from e2llm.training import stages
from e2llm.training.data.records import QuestionRecord

pytestmark = pytest.mark.usefixtures("no_curves")


def lines(*_):
    """Say nothing."""


def test_a_search_keeps_every_trial_goes_on_and_ends_with_its_front(recipe, tmp_path):
    pytest.importorskip("optuna")
    search_front = pytest.importorskip("e2llm.evaluation.figures.search").search_front
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
        records = held_out(validation[1:], pair, recipe.validation_samples, 0)
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

    monkeypatch.setattr(searching, "run", fail)
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
    chosen = held_out(sources, pair, 6, 0)
    assert [record.source for record in chosen] == ["short", "other"] * 3
    assert chosen == held_out(sources, pair, 6, 0) != held_out(sources, pair, 6, 1)
    with pytest.raises(E2LLMError, match="short enough"):
        read_held_out(pair, "e2llm", held_out(sources[1:2], pair, 6, 0))


def test_a_search_needs_questions(recipe, tmp_path):
    pytest.importorskip("optuna")
    texts = replace(recipe, sources=recipe.sources[:1], stages=recipe.stages[:1])
    with pytest.raises(UserError, match="add a source of questions"):
        search(texts, tmp_path, 1, say=lines)


def test_without_optuna_it_is_said_how_to_get_it(recipe, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'e2llm\[eval\]'"):
        search(recipe, tmp_path, 1, say=lines)
