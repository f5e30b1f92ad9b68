"""What the tests of trained methods share: the bare decoder, a long document, some training.

The document does not fit beside the question.
"""

import pytest
import torch

from e2llm.methods import make_method
from e2llm.methods.fitting.trainable import TrainableMethod
from e2llm.pair import E2LLM
from tests.tiny import TEXT

QUESTION = "Who approved the budget?"
ANSWER = "The mayor did."
LONG = TEXT * 3  # about 560 tokens; the tiny window is 512
DECODERS = ["llama", "qwen2", "qwen3", "mistral", "olmo"]


def scored(method, document: str = LONG) -> list[float]:
    """Return the nats of the answer."""
    return method.score(method.read(document), QUESTION, ANSWER).tolist()


def bare_score(pair: E2LLM, document: str = "") -> list[float]:
    """Return the nats that the decoder without the pair's LoRA gives the answer.

    It reads the document, or the question alone.
    """
    method = make_method("full-text-base" if document else "no-document", pair)
    return method.score(method.read(document), QUESTION, ANSWER).tolist()


def disturb(method: TrainableMethod, scale: float = 0.3) -> None:
    """Change what is trained at random, as training would, so that it matters."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in method.trained().values():
            width = scale * parameter.std(correction=0).clamp(min=0.02)
            parameter.add_(width * torch.randn(parameter.shape, generator=generator))


def check_training(method: TrainableMethod, document: str = LONG) -> None:
    """Check that a few steps make the answer likelier, and change all that is trained alone."""
    trained = method.trained()
    others = {
        name: parameter.clone()
        for name, parameter in method.module.named_parameters()
        if name not in trained
    }
    before = {name: parameter.detach().clone() for name, parameter in trained.items()}
    optimizer = torch.optim.Adam(trained.values(), lr=3e-3)
    losses = []
    for _ in range(8):
        loss = method.nats(document, QUESTION, ANSWER).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.02, losses
    left = [name for name, parameter in trained.items() if torch.equal(parameter, before[name])]
    assert left == []
    now = dict(method.module.named_parameters())
    for name, parameter in others.items():
        assert torch.equal(now[name], parameter)
        assert now[name].grad is None
    nats = method.nats(document, QUESTION, ANSWER).tolist()
    assert scored(method, document) == pytest.approx(nats, abs=1e-4)


def check_edges(spec: str, pair: E2LLM) -> None:
    """Check that a method reads an empty document, and one of one token, once it is trained."""
    method = make_method(spec, pair)
    disturb(method)
    for document in ("", "A"):
        reading = method.read(document)
        assert method.answer(reading, QUESTION, 3).n_answer_tokens
        assert method.score(reading, QUESTION, ANSWER).isfinite().all()
        assert method.nats(document, QUESTION, ANSWER).isfinite().all()


def check_saved(method: TrainableMethod, spec: str, pair: E2LLM, folder) -> None:
    """Check that saved weights read as those that were trained."""
    disturb(method)
    method.save(folder)
    again = make_method(f"{spec}:weights={folder}", pair)
    assert scored(again) == scored(method)
