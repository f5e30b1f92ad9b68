"""Adapters and poolings: their equations, and that every two of them work together."""

import pytest
import torch

from e2llm.errors import UserError
from e2llm.model.adapters import ADAPTERS
from e2llm.model.pooling import POOLINGS, group
from tests import tiny

DOCUMENTS = [[tiny.TEXT], [tiny.TEXT[:150], "A short one."]]

QUESTIONS = ["Who approved the budget?", "When?"]


@pytest.fixture
def inputs(pair):
    return pair.processor(QUESTIONS, DOCUMENTS)


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_adapter_works_with_every_pooling_and_trains(make_pair, adapter, pooling):
    pair = make_pair(adapter=adapter, pooling=pooling)
    inputs = pair.processor(QUESTIONS, DOCUMENTS)
    soft_tokens, mask = pair.model.compress(
        inputs["chunk_input_ids"], inputs["chunk_attention_mask"], inputs["chunk_soft_ids"]
    )
    norms = soft_tokens[mask].norm(dim=-1)
    # An adapter that does not normalise only begins near the norm: states of a group that are alike
    # add up.
    tolerance = 0.15 if pair.model.adapter.normalizes else 0.5
    assert norms.mean().item() == pytest.approx(pair.config.soft_token_norm, rel=tolerance)
    pair.model(
        **inputs,
        labels=inputs["input_ids"].masked_fill(
            inputs["input_ids"] == pair.config.placeholder_id, -100
        ),
    ).loss.backward()
    for name, parameter in pair.model.adapter.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_the_vpma_adapter_computes_the_papers_equations_over_four_heads():
    torch.manual_seed(0)
    d_enc, d_dec, length, n_heads = 6, 8, 5, 4
    adapter = ADAPTERS["vpma"](POOLINGS["tokens"](d_enc), d_enc, d_dec, n_heads=n_heads)
    states = torch.randn(length, d_enc)
    keys, values = adapter.key(states), adapter.value(states)
    heads = []
    for head in torch.arange(d_dec).split(d_dec // n_heads):
        weights = torch.softmax(
            (adapter.query[head] @ keys[:, head].T) / (d_dec // n_heads) ** 0.5, -1
        )
        heads.append(weights @ values[:, head])
    hidden = adapter.attention_norm(adapter.out(torch.cat(heads)) + adapter.query)
    expected = adapter.output_norm(
        hidden + adapter.down(torch.nn.functional.gelu(adapter.up(hidden)))
    )
    got = adapter.project(states[None], torch.ones(1, length, dtype=torch.bool))
    torch.testing.assert_close(got[0], expected)


def test_the_attention_pooling_starts_as_the_mean_and_weighs_by_its_query():
    torch.manual_seed(0)
    states, mask = torch.randn(2, 3, 4), torch.tensor([[True, True, True], [True, True, False]])
    pooling, mean = POOLINGS["attention"](4), POOLINGS["mean"](4)
    torch.testing.assert_close(pooling.pool(states, mask), mean.pool(states, mask))
    torch.nn.init.normal_(pooling.query)
    weights = torch.softmax(states[1, :2] @ pooling.query / 2, -1)
    torch.testing.assert_close(pooling.pool(states, mask)[1], weights @ states[1, :2])


def test_the_mean_pooling_averages_equal_groups():
    states = torch.arange(12.0).reshape(6, 2)
    adapter = ADAPTERS["linear"](POOLINGS["mean"](2), 2, 2)
    pooled, mask = adapter.pooling(*group(states, torch.tensor([-1, 0, 0, 1, 1, -1]), 2))
    assert pooled[:, 0].tolist() == [[3.0, 4.0], [7.0, 8.0]]
    assert mask.all()


def test_the_same_seed_makes_the_same_adapter_and_another_seed_another(make_pair):
    first, same, other = (make_pair(seed=seed).fingerprint for seed in (3, 3, 4))
    assert first == same != other


@pytest.mark.parametrize(
    ("argument", "value", "nearest"), [("adapter", "mpl", "mlp"), ("pooling", "meen", "mean")]
)
def test_an_unknown_part_suggests_the_nearest(make_pair, argument, value, nearest):
    with pytest.raises(UserError, match=f"`{argument}` .*did you mean '{nearest}'"):
        make_pair(**{argument: value})


def test_the_residual_adapter_computes_its_equation_and_knows_the_order_of_a_group():
    torch.manual_seed(0)
    adapter = ADAPTERS["residual"](POOLINGS["tokens"](6), 6, 8)
    torch.nn.init.normal_(adapter.down.weight)
    states, mask = torch.randn(2, 3, 6), torch.tensor([[True, True, True], [True, False, False]])
    normed = adapter.input_norm(states)
    each = adapter.skip(normed) + adapter.down(torch.nn.functional.gelu(adapter.up(normed)))
    got = adapter.project(states, mask)
    torch.testing.assert_close(got[0], (each[0] * adapter.places[:3]).sum(0) / 3**0.5)
    torch.testing.assert_close(got[1], each[1, 0])  # a group of one is read as it is
    assert not torch.allclose(adapter.project(states.flip(1), mask)[0], got[0])


def test_the_residual_adapter_reads_groups_longer_than_it_has_places():
    adapter = ADAPTERS["residual"](POOLINGS["tokens"](6), 6, 8)
    states, mask = torch.randn(1, 70, 6), torch.ones(1, 70, dtype=torch.bool)
    assert adapter.project(states, mask).isfinite().all()
