"""A training run as data: what is trained, on what, in which stages.

Read from YAML, checked when it is built, kept beside the results.
"""

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml

from e2llm.checks import check_choice, check_ratio
from e2llm.errors import UserError
from e2llm.training.data.sources import SourceSettings

PARTS = ("adapter", "encoder", "decoder")
DTYPES = ("float32", "bfloat16", "float16")
RANK = 16  # of a new LoRA
# Fields of `E2LLMConfig` that may change in a pair to go on from, since they need no other weights.
DEFAULTS = ("chunk_chars", "overlap_chars", "window_chunks", "ratio", "expand")


@dataclass(frozen=True)
class PartSettings:
    """How a pretrained part is trained in those stages that train it.

    Attributes:
        mode: "lora" (the paper) or "full".
        rank: LoRA rank (the paper: 16-32 for the encoder, 8-16 for the decoder); None for `RANK`,
            or for that of the pair to go on from, whose LoRA is made wider, never narrower, and
            keeps its scale and dropout.
        alpha: LoRA scale; None for twice the rank.
        dropout: LoRA dropout. The dropout of the pretrained part itself is off: soft tokens are
            regressed, not regularised.
        targets: Some of the linear layers that LoRA reaches, by the names that their family gives
            them, such as [q_proj, v_proj]; None for all. Not for a pair to go on from whose LoRA
            has its places already.
    """

    mode: str = "lora"
    rank: int | None = None
    alpha: float | None = None
    dropout: float = 0.0
    targets: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, ["lora", "full"])
        if self.targets is not None and not self.targets:
            raise UserError(
                "`targets` (=[]) names no layer; name some, or leave it out for all linear layers."
            )
        if self.targets is not None and self.mode != "lora":
            raise UserError(
                f"`targets` (={[*self.targets]}) is for LoRA; leave it out where `mode` is "
                f"{self.mode}."
            )
        if self.rank is not None:
            _check_least("rank", self.rank, 1)
        _check_between("dropout", self.dropout, 0, 1)
        if self.alpha is not None and not self.alpha > 0:
            raise UserError(
                f"`alpha` (={self.alpha!r}) must be above 0; the usual is twice the rank."
            )


@dataclass(frozen=True)
class TaskSettings:
    """How much of a stage one task is.

    Attributes:
        share: Share of the batches, against the other tasks' shares.
        weight: Weight of its loss (the paper's understanding weight).
        sources: Names of the sources that it draws from; None for all of the kind that it reads.
        chunks, batch_size: In place of the stage's.
    """

    share: float = 1.0
    weight: float = 1.0
    sources: tuple[str, ...] | None = None
    chunks: tuple[int, int] | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        _check_least("share", self.share, 0)
        _check_least("weight", self.weight, 0)
        _check_chunks(self.chunks or (1, 1))
        _check_least("batch_size", self.batch_size or 1, 1)


@dataclass(frozen=True)
class Stage:
    """One stage: what it trains, at which learning rates, on which tasks, for how long.

    Attributes:
        name: What its folder and its curves are called.
        steps: Optimizer steps.
        learning_rates: Per part that it trains ("adapter", "encoder", "decoder") the peak learning
            rate.
        tasks: Per task its settings.
        ratios: Text tokens per soft token, one drawn per batch (elastic k); "chunk" for one per
            chunk. A ratio named twice is drawn twice as often.
        chunks: Fewest and most chunks of a document; the most grows from the fewest over the first
            `chunks_growth` of the stage. How many is drawn for the samples of a batch together;
            where a source has no document so long, what there is.
        chunks_growth: Part of the stage over which it grows; 0 for no curriculum.
        batch_size: Samples per batch, on average; a batch is one task at one ratio.
        batch_positions: In place of it, positions of the decoder per batch, about; a token that the
            encoder reads counts as an eighth.
        accumulation: Batches per optimizer step and process.
        max_answer_tokens: Longest answer; a longer one is cut. Of a conversation, all that follows
            the first prompt.
        max_positions: Longest prompt; a document that needs more is compressed at a higher ratio.
        warmup: Part of the stage over which the learning rates rise.
        schedule: How they fall after it: "cosine", "linear" or "constant".
        evaluate_every: Steps between validations and checkpoints.
        patience: Validations without a better one before the stage ends; None for no early stop.
    """

    name: str
    steps: int
    learning_rates: dict[str, float]
    tasks: dict[str, TaskSettings]
    ratios: tuple[float | str, ...] = (8,)
    chunks: tuple[int, int] = (1, 1)
    chunks_growth: float = 0.5
    batch_size: int = 8
    batch_positions: int | None = None
    accumulation: int = 1
    max_answer_tokens: int = 512
    max_positions: int = 2048
    warmup: float = 0.05
    schedule: str = "cosine"
    evaluate_every: int = 100
    patience: int | None = None

    def __post_init__(self) -> None:
        from e2llm.training.tasks import TASKS

        if not re.fullmatch(r"[\w -]+", self.name):
            raise UserError(
                f"`stages.name` (={self.name!r}) must be letters, digits, spaces and hyphens: "
                "it names a folder."
            )
        for name, rate in self.learning_rates.items():
            check_choice("learning_rates", name, PARTS)
            if not 0 < rate < float("inf"):
                raise UserError(
                    f"`learning_rates.{name}` (={rate!r}) must be above 0; leave out the "
                    f"parts that stage {self.name!r} does not train."
                )
        if not self.learning_rates:
            raise UserError(
                f"`learning_rates` of stage {self.name!r} must name what it trains: "
                f"{', '.join(PARTS)}."
            )
        for name in self.tasks:
            check_choice("tasks", name, list(TASKS))
        if sum(task.share for task in self.tasks.values()) <= 0:
            raise UserError(
                f"`tasks` of stage {self.name!r} must hold at least one task with a share "
                f"above 0 ({', '.join(TASKS)})."
            )
        if not self.ratios:
            raise UserError(
                f"`ratios` of stage {self.name!r} must hold at least one ratio, such as [4, 8, 16]."
            )
        for ratio in self.ratios:
            check_ratio(ratio)
        for name in (
            "steps",
            "batch_size",
            "accumulation",
            "max_answer_tokens",
            "max_positions",
            "evaluate_every",
        ):
            _check_least(name, getattr(self, name), 1)
        for name in ("warmup", "chunks_growth"):
            _check_between(name, getattr(self, name), 0, 1)
        for name in ("patience", "batch_positions"):
            if (value := getattr(self, name)) is not None:
                _check_least(name, value, 1)
        _check_chunks(self.chunks)
        check_choice("schedule", self.schedule, ["cosine", "linear", "constant"])


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
                f"`stages` must have names of their own, and some share one ({', '.join(names)})."
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
                f"{', '.join(fixed)}; what may change is {', '.join(DEFAULTS)}."
            )
        for name in ("validation_samples", "log_every"):
            _check_least(name, getattr(self, name), 1)
        for name in ("keep_embedding", "max_grad_norm"):
            _check_least(name, getattr(self, name), 0)
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
        return _plain(dataclasses.asdict(self))

    def difference(self, other: Mapping[str, Any]) -> list[str]:
        """List, one line each, where this recipe differs from the `as_dict` of another; where it is
        written to does not count.

        A field that an older version did not know counts as its default.
        """
        own, old = (
            dict(_flatten(self.as_dict())),
            dict(_flatten(build(Recipe, dict(other), "recipe").as_dict())),
        )
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


_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}
# What may differ between the two halves of a run without making it another run.
_MAY_CHANGE = ("output", "report_to", "log_every")


def build(kind: Any, data: Any, where: str) -> Any:
    """Build a dataclass from plain data, with errors that name the field."""
    if not isinstance(data, dict):
        raise UserError(
            f"`{where}` must be a mapping of {', '.join(item.name for item in fields(kind))}; "
            f"it is {data!r:.60}."
        )
    hints = get_type_hints(kind)
    for name in data:
        check_choice(where, str(name), list(hints))
    missing = [
        item.name
        for item in fields(kind)
        if item.default is dataclasses.MISSING
        and item.default_factory is dataclasses.MISSING
        and item.name not in data
    ]
    if missing:
        raise UserError(f"`{where}` must say `{missing[0]}`.")
    return kind(
        **{name: _convert(hints[name], value, f"{where}.{name}") for name, value in data.items()}
    )


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Convert plain data to what a field's type hint asks for."""
    arguments = [argument for argument in get_args(hint) if argument is not type(None)]
    origin = getattr(hint, "__origin__", None)
    if value is None:
        if type(None) in get_args(hint):
            return None
        raise UserError(f"`{where}` is empty; give it a value, or leave the line out.")
    if type(None) in get_args(hint) and len(arguments) == 1:
        return _convert(arguments[0], value, where)
    if origin is tuple:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(
            _convert(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(items)
        )
    if origin is dict:
        if not isinstance(value, dict):
            raise UserError(f"`{where}` must be a mapping; it is {value!r:.60}.")
        return {
            str(key): _convert(arguments[1], item, f"{where}.{key}") for key, item in value.items()
        }
    if dataclasses.is_dataclass(hint):
        return build(hint, value, where)
    if hint is float or hint is int or hint is bool or hint is str:
        return _scalar(hint, value, where)
    return value


def _scalar(hint: Any, value: Any, where: str) -> Any:
    # YAML 1.1 reads 1e-4 as a word.
    try:
        fits = (
            isinstance(value, bool)
            if hint is bool
            else isinstance(value, int | float | str) and not isinstance(value, bool)
        )
        converted = hint(value) if fits else None
    except (ValueError, OverflowError):
        converted = None
    if converted is None or (hint is int and float(value) != converted):
        raise UserError(f"`{where}` (={value!r:.60}) must be {_WORDS[hint]}.")
    return converted


def _with_variables(text: str, path: Any) -> str:
    def look_up(match: re.Match[str]) -> str:
        value = os.environ.get(match[1])
        if value is None:
            raise UserError(
                f"`recipe` (={str(path)!r}) speaks of ${{{match[1]}}}, which is not set; "
                f"export {match[1]}=... first."
            )
        return value

    return re.sub(r"\$\{(\w+)\}", look_up, text)


def _check_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise UserError(f"`{name}` (={value!r}) must be at least {least}.")


def _check_between(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise UserError(f"`{name}` (={value!r}) must lie between {least} and {most}.")


def _check_chunks(chunks: tuple[int, ...]) -> None:
    if len(chunks) != 2 or not 1 <= chunks[0] <= chunks[1]:
        raise UserError(
            f"`chunks` (={list(chunks)}) must be the fewest and the most chunks of a sample, "
            "such as [1, 8]."
        )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _flatten(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        return [
            pair
            for key, item in value.items()
            for pair in _flatten(item, f"{prefix}.{key}" if prefix else str(key))
        ]
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [
            pair
            for index, item in enumerate(value)
            for pair in _flatten(item, f"{prefix}[{index}]")
        ]
    return [(prefix, value)]
