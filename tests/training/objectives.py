"""What the tests of losses and gradients do with an objective."""

import torch


def run(made, batch, training=False):
    """Return what an objective of `make_objective` gives of a batch."""
    made.objective.train(training)
    return made.objective(**made.collator([batch]))


def move_lora(objective, scale=0.3):
    """Let LoRA act, as after some training."""
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in objective.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=scale)


def gradients(made, batch):
    """Return the gradients of what is trained by name."""
    made.objective.zero_grad()
    run(made, batch, training=True)["loss"].backward()
    return {
        name: parameter.grad
        for name, parameter in made.objective.named_parameters()
        if parameter.requires_grad
    }
