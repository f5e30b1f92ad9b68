"""Continual training: positions are stretched as the papers say, where they say."""

import pytest
import torch

from e2llm.errors import UserError
from e2llm.methods import make_method
from e2llm.methods.decoders.rotary import rotary

WINDOW = 512


def test_abf_raises_the_base(trained_pair):
    plain = rotary(trained_pair.model.decoder).inv_freq
    frequencies, _ = make_method("continual", trained_pair).frequencies(WINDOW + 1)
    assert torch.allclose(
        frequencies, (50 * 10_000.0) ** (-torch.arange(len(plain)) / len(plain)), rtol=1e-5, atol=0
    )


def test_pi_divides_the_positions(trained_pair):
    method = make_method("continual:rope=pi:factor=4", trained_pair)
    expected, _ = method.library_frequencies(WINDOW, rope_type="linear", factor=4.0)
    assert torch.allclose(method.frequencies(WINDOW + 1)[0], expected)


@pytest.mark.parametrize("rope", ["abf", "pi"])
def test_within_the_window_positions_are_stretched_where_that_is_asked_for_alone(
    trained_pair, rope
):
    plain = rotary(trained_pair.model.decoder).inv_freq
    beyond, always = (
        make_method(f"continual:rope={rope}:stretch={stretch}", trained_pair)
        for stretch in ("beyond", "always")
    )
    assert torch.equal(beyond.frequencies(WINDOW)[0], plain)
    assert torch.equal(always.frequencies(WINDOW)[0], beyond.frequencies(WINDOW + 1)[0])


@pytest.mark.parametrize(
    "change",
    ["rope=yarn", "stretch=never", "base_factor=0.5", "text_share=2", "rank=0", "factor=0"],
)
def test_a_bad_hyper_parameter_is_told_by_name(trained_pair, change):
    with pytest.raises(UserError, match=change.partition("=")[0]):
        make_method(f"continual:{change}", trained_pair)
