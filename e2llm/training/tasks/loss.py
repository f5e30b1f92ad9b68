"""The loss of a batch: the likelihood of its answers."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from e2llm.model.modeling import CHUNK_INPUTS


@dataclass
class Loss:
    """The loss of a batch.

    Attributes:
        total: Sum over the items.
        n_items: Items that it is a sum over: answer tokens, or regressed token states.
    """

    total: Tensor
    n_items: Tensor


def answer_logits(model: Any, inputs: dict[str, Tensor], prefix: str = "") -> Tensor:
    """Run the model and return the logits that predict the labels; the head reads nothing else.

    Args:
        model: The pair.
        inputs: The batch.
        prefix: "teacher_" for the teacher's prompt and labels.

    Shape:
        inputs as `Collator` makes them -> (n_labels, vocab)
    """
    labels = inputs[f"{prefix}labels"]  # (batch, seq)
    given = {
        name: inputs[prefix + name]
        for name in ("input_ids", "position_ids", "cu_seq_lens_q")
        if prefix + name in inputs
    }
    if not prefix:
        given |= {name: inputs[name] for name in CHUNK_INPUTS[:3]}
    # A position predicts the label of the next one; the last position predicts none.
    predicting = F.pad(labels[:, 1:] != -100, (0, 1))  # (batch, seq)

    def select(head: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (arguments[0][predicting], *arguments[1:])  # (n_labels, d_dec)

    hook = model.get_output_embeddings().register_forward_pre_hook(select)
    try:
        return model(**given, use_cache=False).logits  # (n_labels, vocab)
    finally:
        hook.remove()


def answer_loss(logits: Tensor, labels: Tensor) -> Loss:
    """Sum the negative log-likelihood over the labels that are not -100.

    Shape:
        logits (n_labels, vocab), labels (batch, seq)
    """
    kept = labels[labels != -100]  # (n_labels,)
    n_items = torch.tensor(len(kept), device=logits.device)
    return Loss(NegativeLogLikelihood.apply(logits, kept), n_items)


class NegativeLogLikelihood(torch.autograd.Function):
    """Cross-entropy summed over rows, in float32 a few rows at a time.

    No float32 copy of all logits is ever made.

    Shape:
        logits (n_labels, vocab), labels (n_labels,) -> ()
    """

    # What one step holds in float32: small on a CPU, where it stays in the cache; large elsewhere,
    # where every step costs a launch.
    ROWS, ACCELERATED_ROWS = 64, 4096

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the sum."""
        parts = [part.float().logsumexp(-1) for part in logits.split(_rows(logits))]  # (rows,) each
        normalisers = torch.cat(parts) if parts else logits.new_zeros(0, dtype=torch.float32)
        ctx.save_for_backward(logits, labels, normalisers)
        own = logits.gather(1, labels[:, None])[:, 0]  # (n_labels,)
        return (normalisers - own.float()).sum()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Return gradient x (softmax - one-hot)."""
        logits, labels, normalisers = ctx.saved_tensors
        result = torch.empty_like(logits)  # (n_labels, vocab)
        parts = [tensor.split(_rows(logits)) for tensor in (logits, labels, normalisers, result)]
        for part, own, normaliser, out in zip(*parts, strict=True):
            probabilities = (part.float() - normaliser[:, None]).exp_()  # (rows, vocab)
            probabilities.scatter_add_(1, own[:, None], probabilities.new_full((len(own), 1), -1.0))
            out.copy_(probabilities.mul_(gradient))
        return result, None


def _rows(logits: Tensor) -> int:
    """Return how many rows one step takes on the logits' device."""
    on_cpu = logits.device.type == "cpu"
    return NegativeLogLikelihood.ROWS if on_cpu else NegativeLogLikelihood.ACCELERATED_ROWS
