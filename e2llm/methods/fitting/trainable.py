"""Base of the rivals that have weights of their own, which `e2llm fit` trains and writes.

As they begin they equal the bare decoder.
"""

import json
import shutil
from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from e2llm.errors import UserError
from e2llm.methods.base import Method
from e2llm.methods.bounds.full_text import BaseFullText
from e2llm.model.digest import digest_weights
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
        """Return an answer's negative log-likelihoods with gradient, (n_answer_tokens,) float32.

        The tokens are those of `answer_ids`.

        Raises:
            WindowError: The document is too long for this method.
        """

    @property
    def text_share(self) -> float:
        """Part of the training, at its beginning, that is on texts (`text_nats`), not questions."""
        return 0.0

    def text_nats(self, text: str) -> Tensor:
        """Return a text's negative log-likelihoods with gradient, (n_tokens,) float32.

        It is asked for where `text_share` is above 0.
        """
        raise NotImplementedError

    @cached_property
    def module(self) -> nn.Module:
        """What is trained and run, with `weights` where they are given.

        Raises:
            UserError: The weights are damaged, or were trained with another decoder.
        """
        # It may be asked for first in inference mode, and what is made there can never be trained.
        with torch.inference_mode(False):
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
        """Write what was trained, and facts about it, into an existing folder.

        Args:
            folder: Where.
            facts: About the training, beside the method's settings.
        """
        save_weights(self.module, folder / WEIGHTS_FILE)
        own = {
            "method": type(self).__name__,
            "settings": self._own_settings,
            "decoder": self.decoder_digest,
        }
        text = json.dumps(own | facts, indent=1) + "\n"
        (folder / METHOD_FILE).write_text(text, encoding="utf-8")
        # safetensors makes its file for the owner alone.
        shutil.copymode(folder / METHOD_FILE, folder / WEIGHTS_FILE)

    def base_decoder(self) -> Any:
        """Load the decoder that the pair names, without the pair's LoRA: what `build` builds on.

        Nothing of it is trained yet.
        """
        decoder = BaseFullText(self.pair).decoder.requires_grad_(False)
        self.decoder_digest: str = digest_weights(decoder)
        return decoder

    def answer_ids(self, answer: str) -> list[int]:
        """Return the decoder's ids of an answer.

        While `module` trains, its end is one of them, so that the method learns to stop.
        """
        end = self.pair.processor.tokenizer.eos_token_id
        ids = self.pair.processor.text_ids(answer_text(self.pair.processor, answer))
        return [*ids, end] if self.module.training and end is not None else ids

    @property
    def _own_settings(self) -> dict[str, Any]:
        settings = json.loads(json.dumps(self.settings))
        return {name: value for name, value in settings.items() if name != "weights"}

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


def save_weights(module: nn.Module, file: Path) -> None:
    """Write what is trained of a method's module."""
    trained = _trained(module).items()
    save_file({name: own.detach().cpu().contiguous() for name, own in trained}, file)


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
    shapes = {name: tensor.shape for name, tensor in state.items()}
    if shapes != {name: parameter.shape for name, parameter in wanted.items()}:
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
    wanted = torch.tensor(ids, device=logits.device)  # (n,)
    return F.cross_entropy(logits.float(), wanted, reduction="none")


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
