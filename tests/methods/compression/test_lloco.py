"""LLoCO: summary vectors by hand, stored or made at once; without any, the bare decoder."""

import pytest
import torch

from e2llm.errors import UserError, WindowError
from e2llm.evaluation.costs import Machine
from e2llm.methods import make_method
from e2llm.methods.base import Prompt
from tests.evaluation.test_costs import counted
from tests.methods.fitting.training import (
    ANSWER,
    LONG,
    QUESTION,
    bare_score,
    check_edges,
    check_saved,
    check_training,
    disturb,
    scored,
)
from tests.tiny import TEXT

SPEC = "lloco:segment_tokens=100:summary_tokens=5"


@pytest.mark.parametrize("decoder", ["llama", "qwen3", "gpt2", "gemma2"])
def test_without_summary_vectors_it_is_the_bare_decoder(make_pair, decoder):
    pair = make_pair(decoder=decoder)
    assert scored(make_method("lloco:summary_tokens=0", pair)) == pytest.approx(
        bare_score(pair), abs=1e-5
    )


def test_as_it_begins_the_vectors_are_the_bare_decoders_last_states(make_pair):
    pair = make_pair()
    method, decoder = make_method(SPEC, pair), pair.model.decoder
    ids, vectors = pair.processor.text_ids(LONG), torch.zeros(0, 32)
    embeddings = decoder.get_input_embeddings()
    with torch.no_grad():
        for start in range(0, len(ids), 100):
            inputs = torch.cat(
                [
                    vectors,
                    embeddings(torch.tensor(ids[start : start + 100])),
                    embeddings(torch.tensor([2] * 5)),
                ]
            )
            vectors = torch.cat(
                [vectors, decoder.model(inputs_embeds=inputs[None]).last_hidden_state[0, -5:]]
            )
        assert torch.allclose(method.keep(LONG), vectors, atol=1e-5)
        answer = pair.processor.text_ids(ANSWER)
        prompt = method.prompt(vectors, QUESTION, 20)
        logits = (
            decoder(
                inputs_embeds=pair.model.embed(torch.tensor([prompt.ids + answer]), vectors[None])
            )
            .logits[0]
            .log_softmax(-1)
        )
    expected = [
        -logits[len(prompt.ids) - 1 + place, token].item() for place, token in enumerate(answer)
    ]
    assert scored(method) == pytest.approx(expected, abs=1e-4)


def test_vectors_that_were_stored_answer_as_those_made_at_once(make_pair, tmp_path):
    method = make_method(SPEC, make_pair())
    disturb(method)
    reading = method.read(LONG)
    torch.save(reading.kept, tmp_path / "vectors")
    stored = torch.load(tmp_path / "vectors")
    assert stored.shape == (method.positions(len(method.pair.processor.text_ids(LONG))), 32)
    assert torch.equal(stored, method.look(LONG))
    assert method._answer_nats(stored, QUESTION, ANSWER).tolist() == pytest.approx(
        method.nats(LONG, QUESTION, ANSWER).tolist(), abs=1e-5
    )
    result = method.answer(reading, QUESTION, 4)
    assert result.n_soft == len(stored)
    again = method.answer(reading, QUESTION, 4)
    assert (again.text, again.n_reused) == (result.text, result.positions - 1)


def test_a_segments_vectors_do_not_depend_on_what_comes_after(make_pair):
    method = make_method(SPEC, make_pair())
    disturb(method)
    ids = method.pair.processor.text_ids(LONG)
    segments = method._segments(ids)
    assert torch.allclose(method._vectors(segments)[:10], method._vectors(segments[:2]), atol=1e-5)
    changed = [[*segments[0][:-1], 7], *segments[1:]]
    assert not torch.allclose(
        method._vectors(segments)[-5:], method._vectors(changed)[-5:], atol=1e-4
    ), "the first reaches the last"


def test_training_reaches_both_loras_and_the_summary_tokens_and_nothing_else(make_pair):
    method = make_method(SPEC, make_pair())
    assert {name.partition(".")[0] for name in method.trained()} == {
        "summary",
        "compressor",
        "decoder",
    }
    assert all("lora_" in name for name in method.trained() if name != "summary")
    check_training(method)


def test_gradients_reach_the_last_segments_alone(make_pair):
    method = make_method(f"{SPEC}:gradient_segments=2", make_pair())
    disturb(method)
    vectors = method.look(LONG)
    assert len(vectors) >= 25
    reached = [
        torch.autograd.grad(vector.sum(), method.model.summary, retain_graph=True)[0].any()
        for vector in vectors
    ]
    assert reached == [False] * (len(vectors) - 10) + [True] * 10


def test_a_text_is_learned_after_the_vectors_of_what_stands_before(make_pair):
    method = make_method(SPEC, make_pair())
    n = len(method.pair.processor.text_ids(TEXT))
    assert method.text_nats(TEXT).shape == (min(100, n - n // 2),)
    assert method.text_nats("One.").isfinite().all()
    disturb(method)
    method.text_nats(TEXT).sum().backward()
    assert all(parameter.grad is not None for parameter in method.trained().values())


def test_compressing_costs_as_much_as_the_library_counts(make_pair):
    method = make_method(SPEC, make_pair())
    assert method.read(LONG).flops == pytest.approx(counted(lambda: method.look(LONG)), rel=1e-6)


def test_the_weights_of_the_decoder_are_held_once(make_pair):
    model = make_method(SPEC, make_pair()).model
    shared = {
        id(parameter)
        for name, parameter in model.compressor.named_parameters()
        if "lora_" not in name
    }
    assert shared == {
        id(parameter) for name, parameter in model.decoder.named_parameters() if "lora_" not in name
    }


def test_edges_saving_and_refusals(make_pair, tmp_path):
    pair = make_pair()
    check_edges(SPEC, pair)
    assert scored(make_method(SPEC, pair), "") == pytest.approx(bare_score(pair), abs=1e-5)
    check_saved(make_method(SPEC, pair), SPEC, pair, tmp_path)
    method = make_method(SPEC, pair)
    assert method.embed(Prompt([])).shape == (0, 32)
    n_most = max(n for n in range(0, 10_000, 500) if Machine().refusal(method, n, 4) is None)
    assert 0 < method.positions(n_most) + 100 <= 512
    with pytest.raises(WindowError, match="window"):
        method.keep(TEXT * 100)
    with pytest.raises(WindowError, match="window"):
        method.prompt(method.keep(TEXT), "What? " * 200, 4)
    with pytest.raises(UserError, match="summary_tokens"):
        make_method("lloco:summary_tokens=-1", pair)
