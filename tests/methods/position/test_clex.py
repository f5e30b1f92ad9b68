"""CLEX: its equation is solved right, and it begins as what it grows from."""

import math

import pytest
import torch

from e2llm.errors import UserError
from e2llm.methods import make_method
from e2llm.methods.decoders.rotary import rotary
from e2llm.methods.position.clex import ClexPositions, solve
from tests.tiny import TEXT

WINDOW = 512


@pytest.fixture
def positions() -> ClexPositions:
    """Positions of heads of 16, whose network has learnt something."""
    torch.manual_seed(0)
    made = ClexPositions(10_000.0 ** (-torch.arange(8) / 8), 1.0, WINDOW, 4, 1, 0.1)
    torch.nn.init.normal_(made.down, std=0.05)
    return made


def test_the_solver_follows_what_has_a_closed_form():
    start = torch.tensor([1.0, -2.0], dtype=torch.float64)
    assert torch.allclose(
        solve(lambda z, t: -z, start, 0.0, 2.0, 20), start * math.exp(-2), atol=1e-5
    )
    assert torch.allclose(
        solve(lambda z, t: z * math.cos(t), start, 0.0, 3.0, 60),
        start * math.exp(math.sin(3)),
        atol=1e-5,
    )
    assert torch.allclose(
        solve(lambda z, t: torch.full_like(z, 3 * t**2), start, 1.0, 2.0, 1), start + 7, atol=1e-12
    ), "of the fourth order"


def test_the_solver_is_of_the_fourth_order():
    start = torch.ones(1, dtype=torch.float64)
    errors = [
        abs(solve(lambda z, t: z * math.cos(t), start, 0.0, 3.0, n).item() - math.exp(math.sin(3)))
        for n in (20, 40)
    ]
    assert 12 < errors[0] / errors[1] < 20


@pytest.mark.parametrize("scale", [2, 4, 16])
def test_it_begins_as_dynamic_ntk(trained_pair, scale):
    method, ntk = make_method("clex", trained_pair), make_method("ntk", trained_pair)
    frequencies, _ = method.frequencies(scale * WINDOW)
    expected, _ = ntk.frequencies(scale * WINDOW)
    assert torch.allclose(frequencies, expected, rtol=1e-5, atol=0)


def test_within_the_window_nothing_changes_whatever_was_learnt(trained_pair):
    method = make_method("clex", trained_pair)
    torch.nn.init.normal_(rotary(method.module).down)
    plain = rotary(trained_pair.model.decoder).inv_freq
    assert torch.equal(method.frequencies(WINDOW)[0], plain)
    assert not torch.allclose(method.frequencies(WINDOW + 1)[0], plain)
    assert torch.equal(method.frequencies(WINDOW + 1)[0], method.frequencies(2 * WINDOW)[0])


def test_what_was_learnt_is_integrated_too(positions):
    fine = solve(positions.slope, positions.plain.log(), 1.0, 4.0, 3000).exp()
    assert torch.allclose(positions.at(4), fine, rtol=1e-4, atol=0)
    assert not torch.allclose(
        positions.at(4), ClexPositions(positions.plain, 1.0, WINDOW, 4, 1, 0.1).at(4), rtol=1e-2
    )


@pytest.mark.parametrize("n", [2, 3, 50, WINDOW, 2 * WINDOW + 10])
def test_drawn_positions_are_in_order_and_fill_the_scale(positions, n):
    torch.manual_seed(0)
    ids = torch.arange(n)[None]
    furthest = []
    for _ in range(40):
        drawn, frequencies = positions.draw(ids)
        assert drawn.shape == (1, n)
        assert drawn[0, 0] == 0
        assert (drawn.diff() > 0).all()
        furthest.append(float(drawn[0, -1]))
        scale = next(
            scale for scale in range(1, 5) if torch.equal(frequencies, positions.at(scale))
        )
        assert furthest[-1] == pytest.approx((n * scale - 1) / max(1, n // WINDOW))
        assert furthest[-1] < scale * WINDOW * 1.5
    assert len(set(furthest)) == 4


def test_the_loss_reaches_the_equation(trained_pair):
    method = make_method("clex:factor=4", trained_pair)
    method.module.train()
    positions = rotary(method.module)
    torch.nn.init.normal_(positions.down, std=0.1)
    torch.manual_seed(1)
    for _ in range(4):
        method.nats(TEXT, "Who approved the budget?", "The mayor.").sum().backward()
    assert positions.up.grad.any()
    assert positions.down.grad.any()


def test_the_scale_is_that_of_the_text(trained_pair):
    method = make_method("clex:factor=4", trained_pair)
    assert method.window == 4 * WINDOW
    method.score(method.read(TEXT * 3), "Who?", "The mayor.")
    used = rotary(method.decoder).inv_freq
    assert torch.equal(used, method.frequencies(2 * WINDOW)[0])
    method.score(method.read(TEXT), "Who?", "The mayor.")
    assert torch.equal(used, method.frequencies(1)[0])


@pytest.mark.parametrize("change", ["width=0", "step=0", "step=2", "factor=0.5"])
def test_a_bad_hyper_parameter_is_told_by_name(trained_pair, change):
    with pytest.raises(UserError, match=change.partition("=")[0]):
        make_method(f"clex:{change}", trained_pair)
