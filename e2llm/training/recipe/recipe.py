"""A whole run: a pair, sources of records, stages; read from YAML."""

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from e2llm.checks import check_choice, name_some
from e2llm.errors import UserError
from e2llm.training.data.sources import SourceSettings
from e2llm.training.recipe.fields import build, flatten, plain
from e2llm.training.recipe.parts import PartSettings
from e2llm.training.recipe.rules import check_least
from e2llm.training.recipe.stage import Stage

DTYPES = ("float32", "bfloat16", "float16")
# Fields of `E2LLMConfig` that may change in a pair to go on from, since they need no other weights.
DEFAULTS = ("chunk_chars", "overlap_chars", "window_chunks", "ratio", "expand")
# What may differ between the two halves of a run without making it another run.
_MAY_CHANGE = ("output", "report_to", "log_every")


@dataclass(frozen=True)
class Recipe:
    """A whole run.

    Attributes:
        output: Folder of checkpoints, curves and the trained pair.
        stages: In order; each begins with the best checkpoint of the one before.
        sources: Where training records come from.
        validation: Where validation records come from; none for `validation_fraction` of each
            training source, by document.
        pair: Fields of a new pair: `encoder`, `decoder`, `adapter`, `pooling`, ...; or `model`, a
            pair to go on from, and how it is to compress from now on (`chunk_chars`,
            `overlap_chars`, `window_chunks`, `ratio`, `expand`).
        encoder, decoder: How these two are trained.
        loss: "mean" for the mean over the batch's answer tokens, "sum" for the paper's sum over a
            sample's.
        keep_embedding: Weight of the loss that holds the encoder's sentence embedding, which ranks
            chunks, to the untouched encoder's.
        remember_states: Whether a chunk that a frozen encoder has read is not read again in a
            stage. Its states then depend, by rounding, on the batch that it was first read in, so
            that a resumed run is no longer the uninterrupted one to the last bit.
        validation_samples: Validation samples per task and ratio.
        quantize: "4bit" for QLoRA: the decoder's frozen weights in NF4 (needs bitsandbytes).
        compile: Whether the decoder's layers are compiled (`torch.compile`): faster on a GPU, after
            a minute or so.
        gradient_checkpointing: Whether layers are computed again in the backward pass in place of
            being kept.
        dtype: Of the frozen weights and of matrix products; None for bfloat16 where the device
            multiplies it natively.
        save_dtype: Of the trained weights in the pair that is written at the end.
        report_to: Trackers of transformers' Trainer: "tensorboard", "trackio", "wandb", ...
        trainer: Further fields of transformers' `TrainingArguments` (`fsdp`, `deepspeed`, `optim`,
            `dataloader_num_workers`, ...).
    """

    output: str
    stages: tuple[Stage, ...]
    sources: tuple[SourceSettings, ...]
    validation: tuple[SourceSettings, ...] = ()
    validation_fraction: float = 0.05
    pair: dict[str, Any] = field(default_factory=lambda: {"model": "smol"})
    encoder: PartSettings = field(default_factory=PartSettings)
    decoder: PartSettings = field(default_factory=PartSettings)
    seed: int = 0
    loss: str = "mean"
    keep_embedding: float = 0.0
    remember_states: bool = False
    validation_samples: int = 32
    max_grad_norm: float = 1.0
    log_every: int = 10
    quantize: str | None = None
    compile: bool = False
    gradient_checkpointing: bool = False
    dtype: str | None = None
    save_dtype: str = "bfloat16"
    report_to: tuple[str, ...] = ()
    trainer: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.stages:
            raise UserError("`stages` must hold at least one stage.")
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise UserError(
                "`stages` must have names of their own, and some share one "
                f"({name_some(names, 'the recipe has them')})."
            )
        if not self.sources:
            raise UserError("`sources` must hold at least one source of records.")
        if not {"model"} <= self.pair.keys() and not {"encoder", "decoder"} <= self.pair.keys():
            raise UserError(
                "`pair` must name `model` (a pair to go on from), or `encoder` and `decoder` "
                "for a new one."
            )
        fixed = [
            name for name in self.pair if "model" in self.pair and name not in ("model", *DEFAULTS)
        ]
        if fixed:
            raise UserError(
                "`pair` names `model`, which it goes on from with its own "
                f"{name_some(fixed, 'the recipe has them')}; what may change is "
                f"{', '.join(DEFAULTS)}."
            )
        for name in ("validation_samples", "log_every"):
            check_least(name, getattr(self, name), 1)
        for name in ("keep_embedding", "max_grad_norm"):
            check_least(name, getattr(self, name), 0)
        for name in ("dtype", "save_dtype"):
            check_choice(name, getattr(self, name) or DTYPES[0], DTYPES)
        check_choice("loss", self.loss, ["mean", "sum"])
        if self.quantize is not None:
            check_choice("quantize", self.quantize, ["4bit"])
            if self.decoder.mode == "full" and any(
                "decoder" in stage.learning_rates for stage in self.stages
            ):
                raise UserError(
                    "`quantize` (='4bit') freezes the decoder's weights: set `decoder.mode` "
                    "to lora."
                )
        if not 0 < self.validation_fraction < 0.5:
            raise UserError(
                f"`validation_fraction` (={self.validation_fraction}) must lie between 0 and 0.5."
            )

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Recipe":
        """Read a recipe from YAML; `${NAME}` stands for an environment variable.

        Raises:
            UserError: The file is missing, is no YAML, or a field breaks its rule.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"`recipe` (={str(path)!r}) cannot be read ({error.strerror}); name a YAML "
                "file such as configs/smol.yaml."
            ) from error
        except UnicodeDecodeError as error:
            raise UserError(
                f"`recipe` (={str(path)!r}) is not UTF-8 text; name a YAML file such as "
                "configs/smol.yaml."
            ) from error
        try:
            data = yaml.safe_load(_with_variables(text, path))
        except yaml.YAMLError as error:
            raise UserError(
                f"`recipe` (={str(path)!r}) is not YAML: {' '.join(str(error).split())}"
            ) from error
        return build(cls, data, "recipe")

    def as_dict(self) -> dict[str, Any]:
        """Return plain data, as YAML and JSON hold it."""
        return plain(dataclasses.asdict(self))

    def difference(self, other: Mapping[str, Any]) -> list[str]:
        """List, one line each, where this recipe differs from the `as_dict` of another.

        Where a run is written to does not count. A field that an older version did not know counts
        as its default.
        """
        # The other is built first: what it leaves out then has its default.
        own = dict(flatten(self.as_dict()))
        old = dict(flatten(build(Recipe, dict(other), "recipe").as_dict()))
        keys = [
            key
            for key in [*old, *(key for key in own if key not in old)]
            if key.split(".")[0] not in _MAY_CHANGE
        ]
        return [
            f"{key}: {old.get(key, 'absent')} -> {own.get(key, 'absent')}"
            for key in keys
            if own.get(key) != old.get(key)
        ]


def _with_variables(text: str, path: Any) -> str:
    """Put environment variables in the place of `${NAME}`."""

    def look_up(match: re.Match[str]) -> str:
        value = os.environ.get(match[1])
        if value is None:
            raise UserError(
                f"`recipe` (={str(path)!r}) speaks of ${{{match[1]}}}, which is not set; "
                f"export {match[1]}=... first."
            )
        return value

    return re.sub(r"\$\{(\w+)\}", look_up, text)
