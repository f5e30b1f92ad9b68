"""The whole of what is differentiated, as one module.

Any wrapper (DDP, FSDP, DeepSpeed) then sees a single forward pass.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from e2llm.model import E2LLMForCausalLM
from e2llm.model.pooling import masked_mean
from e2llm.training.recipe import Recipe, Stage
from e2llm.training.tasks import TASKS

# Chunks of a batch whose sentence embedding is held to the untouched encoder's.
DRIFT_CHUNKS = 16


class Objective(nn.Module):
    """A pair with the loss of the stage's tasks.

    Args:
        model: The pair, under PEFT where LoRA is trained.
        recipe: Loss form and weights.
    """

    # Its loss is a batch's own, so that transformers' Trainer divides it by the number of batches
    # of a step.
    accepts_loss_kwargs = False

    def __init__(self, model: E2LLMForCausalLM | PeftModel, recipe: Recipe) -> None:
        super().__init__()
        self.model = model
        self.config = model.config  # where DeepSpeed's "auto" values are looked up
        self.recipe = recipe
        self.stage: Stage = recipe.stages[0]
        self._states: Tensor | None = None
        # Held in a list, so that it is no part of the module: it is never trained, sharded or
        # saved.
        self._untouched: list[nn.Module] = []
        if recipe.keep_embedding and any(
            "encoder" in stage.learning_rates for stage in recipe.stages
        ):
            self._untouched = [copy.deepcopy(plain_encoder(self.base)).requires_grad_(False).eval()]
            self.base.encoder.register_forward_hook(self._remember)

    @property
    def base(self) -> E2LLMForCausalLM:
        """The pair without PEFT's wrapper."""
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

    def forward(self, task: str, labels: Tensor | None = None, **inputs: Any) -> dict[str, Tensor]:
        """Return `loss` to differentiate, and `total` over `n_items` to report, all of shape ().

        The latter are in the units of the task.
        """
        tensors = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
        if labels is not None:
            tensors["labels"] = labels
        loss = TASKS[task].loss(_Reader(self), tensors)
        # The mean over the items of the batch, or each sample's sum, averaged over the samples.
        n_parts = loss.n_items.clamp(min=1) if self.recipe.loss == "mean" else tensors["n_samples"]
        total = self.stage.tasks[task].weight * loss.total / n_parts
        if (
            self._untouched
            and self.training
            and "encoder" in self.stage.learning_rates
            and self._states is not None
        ):
            total = total + self.recipe.keep_embedding * self._embedding_drift(tensors)
        # Kept, the states would hold the graph of the whole encoder until the next batch.
        self._states = None
        return {"loss": total, "total": loss.total.detach(), "n_items": loss.n_items}

    def train(self, mode: bool = True) -> "Objective":
        """Switch training on: of the pretrained parts only LoRA's own dropout is ever on."""
        super().train(mode)
        for name, module in self.named_modules():
            if isinstance(module, nn.Dropout) and "lora_dropout" not in name:
                module.p = 0.0
            # Most decoders hand this number to the attention function.
            if isinstance(getattr(module, "attention_dropout", None), float):
                module.attention_dropout = 0.0
        return self

    def _remember(self, module: nn.Module, arguments: Any, output: Any) -> None:
        self._states = output.last_hidden_state  # (n_rows, chunk_len, d_enc)

    def _embedding_drift(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return 1 - cosine between the sentence embedding and the untouched encoder's.

        It is averaged over some of the chunks.
        """
        real = inputs["chunk_attention_mask"].any(-1)  # (batch, n_chunks)
        ids, mask = (  # (n_rows, chunk_len)
            inputs[name][real][:DRIFT_CHUNKS]
            for name in ("chunk_input_ids", "chunk_attention_mask")
        )
        (untouched,) = self._untouched
        with torch.no_grad():  # (n_rows, chunk_len, d_enc)
            wanted = untouched.to(ids.device)(input_ids=ids, attention_mask=mask).last_hidden_state
        assert self._states is not None
        own, wanted = (  # (n_rows, d_enc)
            masked_mean(states.float(), mask.bool())
            for states in (self._states[:DRIFT_CHUNKS], wanted)
        )
        return (1 - torch.cosine_similarity(own, wanted, dim=-1)).mean()  # ()


class _Reader:
    """What a task sees of the model: calls go through PEFT, attributes to the pair."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective

    def __call__(self, **inputs: Any) -> Any:
        return self._objective.model(**inputs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objective.base, name)

    @contextmanager
    def reading_text(self) -> Iterator[None]:
        """Let the decoder be the one that was there before training: LoRA is off."""
        if not isinstance(self._objective.model, PeftModel):
            yield
            return
        trained = [
            parameter for parameter in self._objective.parameters() if parameter.requires_grad
        ]
        with self._objective.model.disable_adapter():
            yield
        # When LoRA is on again, PEFT lets gradients reach all of it, also what the stage does not
        # train.
        self._objective.requires_grad_(False)
        for parameter in trained:
            parameter.requires_grad_(True)


def plain_encoder(base: E2LLMForCausalLM) -> nn.Module:
    """Copy the encoder as it is without LoRA."""
    encoder = copy.deepcopy(base.encoder)
    for name, module in list(encoder.named_modules()):
        if isinstance(module, LoraLayer):
            owner, _, leaf = name.rpartition(".")
            setattr(encoder.get_submodule(owner), leaf, module.get_base_layer())
    return encoder
