"""Fitting: it lowers the loss, goes on to the bit, and keeps the best weights."""

import json
import os
import signal
from dataclasses import replace

import pytest
import torch

from e2llm.errors import UserError
from e2llm.methods import make_method
from e2llm.methods.attention.longlora import LongLora
from e2llm.methods.fitting.run import fit
from e2llm.methods.fitting.samples import Samples
from e2llm.methods.fitting.trainable import METHOD_FILE, WEIGHTS_FILE
from e2llm.methods.fitting.trainer import Objective
from e2llm.training.deal import VALIDATION_SEED
from e2llm.training.log import LOG_FILE
from tests.methods.fitting.running import DECODERS, SETTINGS, fit_named
from tests.tiny import TEXT

QUESTION = "Who approved the budget?"
ANSWER = "The mayor did."
LONG = TEXT * 4  # beyond the tiny decoders' window of 512


@pytest.mark.parametrize("name", DECODERS)
def test_fitting_lowers_the_loss_and_its_weights_are_read_again(
    trained_pair, sources, tmp_path, name
):
    lines: list[str] = []
    folder = fit_named(
        name,
        trained_pair,
        sources,
        tmp_path / "run",
        lines.append,
        steps=30,
        learning_rate=2e-2,
        validation_samples=0,
    )
    log = [json.loads(line)["loss"] for line in (folder / LOG_FILE).read_text().splitlines()]
    assert len(log) == 30
    assert sum(log[-5:]) < 0.995 * sum(log[15:20]), log
    assert any("positions/s" in line and "left" in line for line in lines)
    assert not list(folder.glob("checkpoint-*"))
    begun = make_method(name, trained_pair)
    method = make_method(f"{name}:weights={folder}", trained_pair)
    before, after = (
        sum(
            float(each.score(each.read(record.context), record.question, record.answers[0]).mean())
            for record in list(sources[1])[:8]
        )
        for each in (begun, method)
    )
    assert after < 0.99 * before
    facts = json.loads((folder / METHOD_FILE).read_text())
    assert (facts["steps"], facts["seed"], facts["fit"]["learning_rate"]) == (30, 0, 2e-2)


@pytest.mark.parametrize("name", DECODERS)
def test_a_pair_in_half_precision_is_trained_in_full_and_read_in_half(
    make_pair, sources, tmp_path, name
):
    pair = make_pair(trained=True, dtype="bfloat16")
    folder = fit_named(name, pair, sources, tmp_path / "run", steps=2)
    method = make_method(f"{name}:weights={folder}", pair)
    assert method.score(method.read(TEXT), QUESTION, ANSWER).isfinite().all()
    assert method.answer(method.read(LONG), QUESTION, 4).n_answer_tokens > 0


def test_recomputing_layers_changes_nothing(trained_pair, sources, tmp_path):
    for name in DECODERS:
        folders = [
            fit_named(
                name,
                trained_pair,
                sources,
                tmp_path / f"{name}{kept}",
                steps=2,
                gradient_checkpointing=kept,
            )
            for kept in (False, True)
        ]
        states = [
            make_method(f"{name}:weights={folder}", trained_pair).trained() for folder in folders
        ]
        for parameter, other in zip(*(state.values() for state in states), strict=True):
            assert torch.allclose(parameter, other, atol=1e-6)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("name", DECODERS)
def test_an_interrupted_run_that_goes_on_is_the_uninterrupted_one_to_the_bit(
    trained_pair, sources, tmp_path, name
):
    whole = fit_named(name, trained_pair, sources, tmp_path / "whole")

    def interrupt(line: str) -> None:
        if line.startswith("2/6"):
            os.kill(os.getpid(), signal.SIGINT)

    cut = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        fit_named(name, trained_pair, sources, cut, interrupt)
    assert not (cut / WEIGHTS_FILE).exists()
    (checkpoint,) = cut.glob("checkpoint-*")
    assert checkpoint.name in ("checkpoint-2", "checkpoint-3")
    with pytest.raises(UserError, match="add --resume"):
        fit_named(name, trained_pair, sources, cut)
    with pytest.raises(UserError, match=r"another run .*learning_rate"):
        fit(
            make_method(name, trained_pair),
            sources,
            replace(SETTINGS, learning_rate=1.0),
            cut,
            resume=True,
            say=str,
        )
    fit(make_method(name, trained_pair), sources, SETTINGS, cut, resume=True, say=str)
    assert (cut / WEIGHTS_FILE).read_bytes() == (whole / WEIGHTS_FILE).read_bytes()
    assert (
        fit(make_method(name, trained_pair), sources, SETTINGS, cut, resume=True, say=str) == cut
    ), "what is done is left as it is"


def unlearn_after(n_steps: int, monkeypatch) -> None:
    """Let LongLoRA learn answers for some steps, and in the steps after them unlearn them.

    So the best weights are between the first and the last by a margin that no rounding takes away.
    """
    own, seen = LongLora.nats, []

    def nats(self, *sample):
        found = own(self, *sample)
        if not self.module.training:
            return found
        seen.append(sample)
        return found if len(seen) <= n_steps * SETTINGS.batch_size else -found

    monkeypatch.setattr(LongLora, "nats", nats)


def test_the_weights_that_answer_questions_set_aside_best_are_kept(
    trained_pair, sources, tmp_path, monkeypatch
):
    spec = "longlora:text_share=0"
    settings = replace(SETTINGS, steps=16, learning_rate=1e-2, save_every=1, validation_samples=5)
    lines: list[str] = []
    unlearn_after(6, monkeypatch)
    folder = fit(
        make_method(spec, trained_pair), sources, settings, tmp_path / "run", say=lines.append
    )
    log = [json.loads(line) for line in (folder / LOG_FILE).read_text().splitlines()]
    losses = [line["eval_loss"] for line in log if "eval_loss" in line]
    assert len(losses) == 16
    assert min(losses) < min(losses[0], losses[-1]) - 0.1, (
        "neither the first weights nor the last are the best"
    )
    assert any(line == f"16/16 validation {losses[-1]:.4f}" for line in lines)
    method = make_method(f"{spec}:weights={folder}", trained_pair)
    kept, aside = sources[1].split(seed=0)
    assert not {record.id for record in kept} & {record.id for record in aside}
    questions = Samples(method, [aside], replace(settings, seed=VALIDATION_SEED)).questions(5)
    nats = torch.cat(
        [
            method.nats(*(question[name] for name in ("document", "question", "answer")))
            for question in questions
        ]
    )
    assert float(nats.detach().mean()) == pytest.approx(min(losses), abs=1e-4)
    assert json.loads((folder / METHOD_FILE).read_text())["validation_loss"] == min(losses)


def test_without_validation_the_last_weights_are_kept(trained_pair, sources, tmp_path):
    folder = fit_named(
        "longlora", trained_pair, sources[1:], tmp_path / "run", validation_samples=0
    )
    assert json.loads((folder / METHOD_FILE).read_text())["validation_loss"] is None
    assert not any("eval_loss" in line for line in (folder / LOG_FILE).read_text().splitlines())


def test_what_is_read_with_the_bare_decoder_teaches_nothing(trained_pair):
    method = make_method("continual", trained_pair)
    nats = method.nats(TEXT, QUESTION, ANSWER).detach()
    method.nats = lambda *sample: nats
    loss = Objective(method)({"document": TEXT, "question": QUESTION, "answer": ANSWER})
    loss.backward()
    assert loss == nats.sum()
    assert not any(
        parameter.grad.any()
        for parameter in method.trained().values()
        if parameter.grad is not None
    )


def test_the_seed_decides(trained_pair, sources, tmp_path, fitted):
    same, other = (
        fit_named("longlora", trained_pair, sources, tmp_path / str(seed), seed=seed)
        for seed in (0, 1)
    )
    assert (same / WEIGHTS_FILE).read_bytes() == (fitted / WEIGHTS_FILE).read_bytes()
    assert (other / WEIGHTS_FILE).read_bytes() != (fitted / WEIGHTS_FILE).read_bytes()


def test_where_there_are_texts_alone_nothing_is_validated_on(trained_pair, sources, tmp_path):
    folder = fit_named(
        "continual:text_share=1", trained_pair, sources[:1], tmp_path / "run", steps=2
    )
    assert json.loads((folder / METHOD_FILE).read_text())["validation_loss"] is None


def test_a_folder_with_other_things_in_it_is_refused(trained_pair, sources, tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UserError, match="is not empty"):
        fit_named("continual", trained_pair, sources, tmp_path)


@pytest.mark.parametrize(
    "change", [{"steps": 0}, {"learning_rate": 0.0}, {"warmup": 2.0}, {"document_tokens": 0}]
)
def test_a_bad_setting_is_told_by_name(change):
    with pytest.raises(UserError, match=next(iter(change))):
        replace(SETTINGS, **change)
