"""Rivals that are trained: as they begin they are the bare decoder, and weights are read by what
they were made for alone.
"""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from e2llm.errors import E2LLMError, UserError
from e2llm.methods import make_method
from e2llm.methods.fitting.run import fit
from e2llm.methods.fitting.samples import Samples
from e2llm.methods.fitting.settings import FitSettings
from e2llm.methods.fitting.trainable import METHOD_FILE, WEIGHTS_FILE, TrainableMethod
from e2llm.methods.fitting.trainer import Objective
from e2llm.training.data.sources import Source, SourceSettings, open_source
from e2llm.training.deal import VALIDATION_SEED
from e2llm.training.log import LOG_FILE
from tests.tiny import TEXT
from tests.training import writing

QUESTION = "Who approved the budget?"
ANSWER = "The mayor did."
LONG = TEXT * 4  # beyond the tiny decoders' window of 512
DECODERS = ["continual", "longlora", "clex"]
SETTINGS = FitSettings(
    steps=6,
    learning_rate=5e-3,
    batch_size=2,
    chunks=2,
    document_tokens=120,
    save_every=3,
    log_every=1,
)


@pytest.fixture(scope="session")
def sources(tmp_path_factory) -> list[Source]:
    """Texts and questions."""
    data = writing.write_data(tmp_path_factory.mktemp("fit-data"))
    return [
        open_source(SourceSettings(path=str(data / f"{name}.jsonl")))
        for name in ("texts", "questions")
    ]


@pytest.fixture(scope="session")
def fitted(trained_pair, sources, tmp_path_factory) -> Path:
    """Weights of "longlora"."""
    return fit(
        make_method("longlora", trained_pair),
        sources,
        SETTINGS,
        tmp_path_factory.mktemp("fitted") / "longlora",
        say=str,
    )


def fit_named(name: str, pair, sources, output: Path, say=str, **changes) -> Path:
    return fit(make_method(name, pair), sources, replace(SETTINGS, **changes), output, say=say)


def nudge(method: TrainableMethod) -> None:
    """Change what is trained a little, so that it shows."""
    with torch.no_grad():
        for parameter in method.trained().values():
            parameter += 0.1 * torch.randn(
                parameter.shape, generator=torch.Generator().manual_seed(0)
            )


@pytest.mark.parametrize("decoder", ["llama", "qwen3", "phi"])
@pytest.mark.parametrize("name", DECODERS)
def test_as_it_begins_it_is_the_bare_decoder_within_the_window(make_pair, name, decoder):
    pair = make_pair(decoder=decoder, trained=True)
    method, bare = make_method(name, pair), make_method("full-text-base", pair)
    assert torch.equal(
        method.score(method.read(TEXT), QUESTION, ANSWER),
        bare.score(bare.read(TEXT), QUESTION, ANSWER),
    )
    results = [each.answer(each.read(TEXT), QUESTION, 8) for each in (method, bare)]
    assert results[0].text == results[1].text
    assert results[0].flops == results[1].flops, "LoRA is merged when it reads"


@pytest.mark.parametrize("name", DECODERS)
def test_it_reads_beyond_the_trained_window(trained_pair, name):
    method = make_method(name, trained_pair)
    result = method.answer(method.read(LONG), QUESTION, 4)
    assert result.positions > 512
    assert method.score(method.read(LONG), QUESTION, ANSWER).isfinite().all()


@pytest.mark.parametrize("text", [TEXT, LONG], ids=["short", "long"])
@pytest.mark.parametrize("name", DECODERS)
def test_a_score_is_the_nats_that_training_would_see_were_it_not_training(trained_pair, name, text):
    method = make_method(name, trained_pair)
    nudge(method)
    nats = method.nats(text, QUESTION, ANSWER)
    score = method.score(method.read(text), QUESTION, ANSWER)
    assert nats.requires_grad
    assert not score.requires_grad
    assert score.tolist() == pytest.approx(nats.tolist(), abs=1e-4)
    assert method.nats(text, QUESTION, ANSWER).tolist() == pytest.approx(nats.tolist(), abs=1e-4), (
        "merging has left the weights as they were"
    )
    bare = make_method("full-text-base", trained_pair)
    assert method.score(method.read(TEXT), QUESTION, ANSWER).tolist() != pytest.approx(
        bare.score(bare.read(TEXT), QUESTION, ANSWER).tolist(), abs=1e-2
    )


@pytest.mark.parametrize("name", DECODERS)
def test_gradients_reach_what_is_trained_and_nothing_else(trained_pair, name):
    method = make_method(name, trained_pair)
    method.module.train()
    method.nats(TEXT, QUESTION, ANSWER).sum().backward()
    trained = method.trained()
    assert trained
    reached = {
        name for name, parameter in method.module.named_parameters() if parameter.grad is not None
    }
    assert reached <= trained.keys()
    assert any(
        parameter.grad is not None and parameter.grad.any() for parameter in trained.values()
    )
    assert all(parameter.grad is None for parameter in trained_pair.model.parameters())


@pytest.mark.parametrize("name", DECODERS)
def test_while_it_trains_the_end_of_the_answer_is_learnt_too(trained_pair, name):
    method = make_method(name, trained_pair)
    n_answer = len(trained_pair.processor.text_ids(ANSWER))
    assert len(method.nats(TEXT, QUESTION, ANSWER)) == n_answer
    method.module.train()
    assert len(method.nats(TEXT, QUESTION, ANSWER)) == n_answer + 1
    assert method.answer_ids(ANSWER)[-1] == trained_pair.processor.tokenizer.eos_token_id


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
    begun, method = (
        make_method(name, trained_pair),
        make_method(f"{name}:weights={folder}", trained_pair),
    )
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
def test_half_precision_begins_as_the_bare_decoder_too(make_pair, name):
    pair = make_pair(trained=True, dtype="bfloat16")
    method, bare = make_method(name, pair), make_method("full-text-base", pair)
    assert torch.equal(
        method.score(method.read(TEXT), QUESTION, ANSWER),
        bare.score(bare.read(TEXT), QUESTION, ANSWER),
    )


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


def test_the_weights_that_answer_questions_set_aside_best_are_kept(trained_pair, sources, tmp_path):
    settings = replace(SETTINGS, steps=12, learning_rate=0.3, save_every=1, validation_samples=5)
    lines: list[str] = []
    folder = fit(
        make_method("longlora", trained_pair), sources, settings, tmp_path / "run", say=lines.append
    )
    log = [json.loads(line) for line in (folder / LOG_FILE).read_text().splitlines()]
    losses = [line["eval_loss"] for line in log if "eval_loss" in line]
    assert len(losses) == 12
    assert min(losses) < losses[-1], "at this learning rate the last weights are not the best"
    assert any(line == f"12/12 validation {losses[-1]:.4f}" for line in lines)
    method = make_method(f"longlora:weights={folder}", trained_pair)
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


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("continual:weights={0}", "are of another method"),
        ("longlora:rank=8:weights={0}", "were trained with rank=16, and rank is 8; set rank=16"),
        ("longlora:weights={0}/none", "holds no method.json"),
        ("longlora:weights=3", "holds no method.json"),
    ],
)
def test_weights_of_another_method_are_refused_at_once(trained_pair, fitted, spec, words):
    with pytest.raises(UserError, match=words):
        make_method(spec.format(fitted), trained_pair)


def test_weights_of_another_decoder_are_refused(make_pair, fitted):
    with pytest.raises(UserError, match="trained with another decoder"):
        _ = make_method(
            f"longlora:weights={fitted}", make_pair(decoder="qwen2", trained=True)
        ).module


@pytest.mark.parametrize(
    "damage", [lambda file: file.unlink(), lambda file: file.write_bytes(file.read_bytes()[:100])]
)
def test_damaged_weights_are_refused(trained_pair, sources, tmp_path, damage):
    folder = fit_named("clex", trained_pair, sources, tmp_path / "run", steps=1)
    damage(folder / WEIGHTS_FILE)
    with pytest.raises(UserError, match="missing or damaged"):
        _ = make_method(f"clex:weights={folder}", trained_pair).module


def test_a_pair_that_does_not_name_its_decoder_cannot_be_fitted(make_pair):
    pair = make_pair()
    pair.config.decoder_name = None
    with pytest.raises(E2LLMError, match="does not name its decoder"):
        make_method("longlora", pair)


def test_texts_come_first_and_every_sample_fits(trained_pair, sources):
    method = make_method("continual:text_share=0.25", trained_pair)
    samples = Samples(method, sources, replace(SETTINGS, steps=8))
    assert ["text" in sample for sample in map(samples.__getitem__, range(len(samples)))] == [
        True
    ] * 4 + [False] * 12
    for index in range(len(samples)):
        sample = samples[index]
        assert sample == Samples(method, sources, replace(SETTINGS, steps=8))[index]
        assert 0 < sample["n_items"] <= sample["n_positions"]
        document = sample.get("text") or sample["document"]
        assert len(trained_pair.processor.text_ids(document)) <= SETTINGS.document_tokens


def test_without_texts_the_documents_of_questions_are_read(trained_pair, sources):
    samples = Samples(make_method("continual:text_share=1", trained_pair), sources[1:], SETTINGS)
    assert all("text" in samples[index] for index in range(len(samples)))


def test_where_there_are_texts_alone_nothing_is_validated_on(trained_pair, sources, tmp_path):
    folder = fit_named(
        "continual:text_share=1", trained_pair, sources[:1], tmp_path / "run", steps=2
    )
    assert json.loads((folder / METHOD_FILE).read_text())["validation_loss"] is None


def test_without_what_it_is_trained_on_it_is_refused(trained_pair, sources):
    with pytest.raises(UserError, match="trained on question records"):
        Samples(make_method("continual", trained_pair), sources[:1], SETTINGS)


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
