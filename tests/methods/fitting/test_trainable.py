"""Rivals that are trained: as they begin they are the bare decoder, and weights fit one alone."""

import pytest
import torch

from e2llm.errors import E2LLMError, UserError
from e2llm.methods import make_method
from e2llm.methods.fitting.trainable import WEIGHTS_FILE, TrainableMethod
from tests.methods.fitting.running import DECODERS, fit_named
from tests.tiny import TEXT

QUESTION = "Who approved the budget?"
ANSWER = "The mayor did."
LONG = TEXT * 4  # beyond the tiny decoders' window of 512


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
def test_half_precision_begins_as_the_bare_decoder_too(make_pair, name):
    pair = make_pair(trained=True, dtype="bfloat16")
    method, bare = make_method(name, pair), make_method("full-text-base", pair)
    assert torch.equal(
        method.score(method.read(TEXT), QUESTION, ANSWER),
        bare.score(bare.read(TEXT), QUESTION, ANSWER),
    )


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
