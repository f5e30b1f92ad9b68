"""What saves time or memory changes no gradient."""

import pytest
import torch

from e2llm.training.resources import checkpoint_gradients, compile_layers
from tests.training.objectives import gradients, move_lora


@pytest.mark.parametrize(
    ("encoder", "decoder"), [("bert", "llama"), ("modernbert", "gpt2"), ("qwen3", "gemma2")]
)
def test_gradient_checkpointing_changes_no_gradient(make_objective, batch_of, encoder, decoder):
    made = make_objective(encoder=encoder, decoder=decoder)
    move_lora(made.objective)
    batch = batch_of(made, "understanding")
    kept = gradients(made, batch)
    checkpoint_gradients(made.objective)
    counted = [0]
    layer = next(
        module
        for name, module in made.objective.base.decoder.named_modules()
        if name.endswith(("layers.0", "h.0"))
    )
    next(layer.children()).register_forward_pre_hook(
        lambda *_: counted.__setitem__(0, counted[0] + 1)
    )
    again = gradients(made, batch)
    assert counted[0] == 2  # once more in the backward pass
    for name, gradient in kept.items():
        torch.testing.assert_close(again[name], gradient, msg=name)


@pytest.mark.parametrize("decoder", ["llama", "gpt2"])
def test_compiled_layers_change_no_gradient(make_objective, batch_of, decoder):
    made = make_objective(decoder=decoder)
    move_lora(made.objective)
    batch = batch_of(made, "understanding")
    plain = gradients(made, batch)
    compile_layers(made.objective, backend="aot_eager")
    compiled = [
        name
        for name, module in made.objective.base.named_modules()
        if module._compiled_call_impl is not None
    ]
    assert len(compiled) == made.objective.base.decoder.config.num_hidden_layers
    assert all(name.startswith("decoder.") for name in compiled)
    again = gradients(made, batch)
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, msg=name)
