"""Time and memory: layers recomputed or compiled, memory that is kept."""

import ctypes
from typing import Any

from transformers.modeling_layers import GradientCheckpointingLayer

from e2llm.model.versions import checkpoint_activations
from e2llm.training.objective import Objective

# The numbers of two options in glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def checkpoint_gradients(objective: Objective) -> None:
    """Let both pretrained parts compute their layers again in the backward pass.

    What their layers put out then need not be kept.
    """
    for part in (objective.base.encoder, objective.base.decoder):
        checkpoint_activations(part)
        part.enable_input_require_grads()


def compile_layers(objective: Objective, **options: Any) -> None:
    """Compile the decoder's layers; `options` go to `torch.compile`.

    They are alike, so that one is compiled for all, and shapes stay free. The encoder's are left
    alone: hidden states of several layers, where they are wanted, are gathered inside the layers.
    """
    for module in objective.base.decoder.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.compile(dynamic=True, **options)


def keep_memory() -> None:
    """Let glibc keep freed memory for the next batch.

    Given back and fetched anew, its pages cost a third of the time on a CPU.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another system, another allocator
        return
    for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
        mallopt(option, 2**31 - 1)  # the greatest C int
