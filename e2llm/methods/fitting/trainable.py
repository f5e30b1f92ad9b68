"""Rivals that have weights of their own: as they begin they equal the bare decoder; `e2llm fit`
trains them and writes what `weights` names.
"""

import json
import shutil
from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from e2llm.errors import UserError
from e2llm.methods.base import Method
from e2llm.methods.bounds.full_text import BaseFullText
from e2llm.methods.position.twin import share
from e2llm.model.digest import digest_weights
from e2llm.model.lora import quiet_peft
from e2llm.reading.prompt import answer_text

WEIGHTS_FILE = "weights.safetensors"
METHOD_FILE = "method.json"


@dataclass
class TrainableMethod(Method):
    """A method that is trained, on the records that E2LLM is trained on.

    A subclass says what is trained and run (`build`) and what it is trained to do (`nats`); `score`
    must give the same numbers while `module` does not train. What its training does in another way
    than its reading (sparse attention, positions drawn at random) depends on `module.training`.

    Attributes:
        weights: Folder that `e2llm fit` wrote; None for the method as it begins, which equals the
            bare decoder.
    """

    weights: str | None = None

    def __post_init__(self) -> None:
        BaseFullText(self.pair)  # which refuses a pair that does not name its decoder
        if self.weights is not None:
            self._check_weights(_read_facts(self.weights))

    @abstractmethod
    def build(self) -> nn.Module:
        """Make what is trained and run, from `base_decoder` and whatever the method adds.

        Gradients must reach what is trained, and nothing else.
        """

    @abstractmethod
    def nats(self, document: str, question: str, answer: str) -> Tensor:
        """Return the negative log-likelihood of each token of an answer (`answer_ids`),
        (n_answer_tokens,) float32, with gradient.

        Raises:
            WindowError: The document is too long for this method.
        """

    @property
    def text_share(self) -> float:
        """Part of the training, at its beginning, that is on texts (`text_nats`) in the place of
        questions.
        """
        return 0.0

    def text_nats(self, text: str) -> Tensor:
        """Return the negative log-likelihood of the tokens of a text, (n_tokens,) float32, with
        gradient; asked for where `text_share` is above 0.
        """
        raise NotImplementedError

    @cached_property
    def module(self) -> nn.Module:
        """What is trained and run, with `weights` where they are given.

        Raises:
            UserError: The weights are damaged, or were trained with another decoder.
        """
        with torch.inference_mode(
            False
        ):  # wherever it is asked for first: what is made in inference mode can never be trained
            module = self.build().eval()
            if self.weights is not None:
                if _read_facts(self.weights)["decoder"] != self.decoder_digest:
                    raise UserError(
                        f"`weights` (={self.weights!r}) were trained with another decoder "
                        "than the pair's; fit the method to this pair."
                    )
                load_weights(module, Path(self.weights) / WEIGHTS_FILE)
        return module

    def trained(self) -> dict[str, nn.Parameter]:
        """Return what `fit` trains and saves, by name: what gradients reach."""
        return _trained(self.module)

    def save(self, folder: Path, **facts: Any) -> None:
        """Write what was trained, with the method's settings and other facts about the training,
        into an existing folder.
        """
        save_file(
            {
                name: parameter.detach().cpu().contiguous()
                for name, parameter in self.trained().items()
            },
            folder / WEIGHTS_FILE,
        )
        facts = {
            "method": type(self).__name__,
            "settings": self._own_settings,
            "decoder": self.decoder_digest,
        } | facts
        (folder / METHOD_FILE).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        shutil.copymode(
            folder / METHOD_FILE, folder / WEIGHTS_FILE
        )  # which safetensors makes for its owner alone

    def base_decoder(self) -> Any:
        """Load the decoder that the pair names, without the pair's LoRA: what `build` builds on.

        Nothing of it is trained yet.
        """
        decoder = BaseFullText(self.pair).decoder.requires_grad_(False)
        self.decoder_digest: str = digest_weights(decoder)
        return decoder

    def answer_ids(self, answer: str) -> list[int]:
        """Return the decoder's ids of an answer; with its end while `module` trains, so that the
        method learns to stop.
        """
        end = self.pair.processor.tokenizer.eos_token_id
        return self.pair.processor.text_ids(answer_text(self.pair.processor, answer)) + (
            [end] if self.module.training and end is not None else []
        )

    @property
    def _own_settings(self) -> dict[str, Any]:
        return {
            name: value
            for name, value in json.loads(json.dumps(self.settings)).items()
            if name != "weights"
        }

    def _check_weights(self, facts: dict[str, Any]) -> None:
        if facts["method"] != type(self).__name__:
            raise UserError(
                f"`weights` (={self.weights!r}) are of another method ({facts['method']} and "
                f"not {type(self).__name__}); fit this one."
            )
        for name, value in self._own_settings.items():
            if facts["settings"].get(name) != value:
                there = facts["settings"].get(name)
                raise UserError(
                    f"`weights` (={self.weights!r}) were trained with {name}={there!r}, and "
                    f"{name} is {value!r}; set {name}={there!r}."
                )


def add_lora(decoder: Any, rank: int, alpha: float) -> Any:
    """Put LoRA, which changes nothing yet, on all linear layers of a decoder but its head;
    gradients reach it alone. Return the decoder.
    """
    config = LoraConfig(
        r=rank, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    with quiet_peft():
        decoder = inject_adapter_in_model(config, decoder)
    for name, parameter in decoder.named_parameters():
        parameter.requires_grad_("lora_" in name)
        if "lora_" in name:
            parameter.data = parameter.data.to(decoder.dtype)
    return decoder


def merge_lora(module: nn.Module, merged: bool) -> None:
    """Add LoRA into the weights that it changes, in place, or take it out again; only where it is
    out can it be trained.
    """
    for layer in module.modules():
        if isinstance(layer, LoraLayer) and layer.merged != merged:
            layer.merge() if merged else layer.unmerge()


def without_lora(decoder: Any) -> Any:
    """Return a second view of a decoder without LoRA's layers, which shares its weights: what it
    reads with while LoRA is merged into them.
    """
    with torch.inference_mode(False):
        twin = share(decoder)
    for name, layer in list(twin.named_modules()):
        if isinstance(layer, LoraLayer):
            twin.set_submodule(name, layer.get_base_layer())
    return twin


def load_weights(module: nn.Module, file: Path) -> None:
    """Load what was trained into a method's module.

    Raises:
        UserError: The file is damaged or of another method.
    """
    try:
        state = load_file(file)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"`weights`: {file} is missing or damaged; copy the folder again, or fit the "
            "method again."
        ) from error
    wanted = _trained(module)
    if {name: tensor.shape for name, tensor in state.items()} != {
        name: parameter.shape for name, parameter in wanted.items()
    }:
        raise UserError(
            f"`weights`: {file} does not fit the method's parameters; fit the method again."
        )
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(state[name])


def token_nats(logits: Tensor, ids: list[int]) -> Tensor:
    """Return the negative log-likelihood of each id.

    Shape:
        logits (n, vocab), n ids -> (n,) float32
    """
    return F.cross_entropy(
        logits.float(), torch.tensor(ids, device=logits.device), reduction="none"
    )


def _trained(module: nn.Module) -> dict[str, nn.Parameter]:
    return {
        name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad
    }


def _read_facts(folder: str) -> dict[str, Any]:
    try:
        facts = json.loads((Path(folder) / METHOD_FILE).read_text(encoding="utf-8"))
        return {name: facts[name] for name in ("method", "settings", "decoder")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"`weights` (={folder!r}) holds no {METHOD_FILE} that can be read; name a folder "
            "that `e2llm fit` wrote."
        ) from error
