"""The pair that a recipe trains, loaded with LoRA in its precision."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from peft import PeftModel

from e2llm.checks import check_choice
from e2llm.errors import UserError
from e2llm.model import E2LLMConfig, E2LLMForCausalLM, E2LLMProcessor, devices
from e2llm.model.assembling import assemble, set_defaults
from e2llm.model.checkpoint import load_processor, load_trainable
from e2llm.model.lora import LORA_TARGETS, attach_lora, extend_lora, lora_layers, widen_lora
from e2llm.pairs import find_pair
from e2llm.training.attention import attend_in_float32, attend_packed
from e2llm.training.recipe import RANK, PartSettings, Recipe


def load(recipe: Recipe) -> tuple[E2LLMForCausalLM | PeftModel, E2LLMProcessor]:
    """Load the pair that a recipe names, with LoRA where it is to be trained."""
    device, dtype = devices.default_device(), precision(recipe)
    model, processor = _open(recipe, dtype)
    # A part that no stage trains gets no LoRA.
    trains = {part for stage in recipe.stages for part in stage.learning_rates}
    settings = {"encoder": recipe.encoder, "decoder": recipe.decoder}
    settings = {part: own for part, own in settings.items() if part in trains}
    lora = {part: own for part, own in settings.items() if own.mode == "lora"}
    # A pair that has LoRA goes on with it; another one gets it now.
    if isinstance(model, PeftModel):
        for part, own in lora.items():
            _go_on(model, part, own)
    elif lora:
        model = _attach(model, lora)
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    # A new pair was assembled with these fields; one to go on from takes them now.
    if "model" in recipe.pair:
        defaults = {name: value for name, value in recipe.pair.items() if name != "model"}
        set_defaults(base.config, processor, defaults)
    # What is trained is kept in float32: in 16 bits most steps would be lost to rounding.
    base.adapter.float()
    for part, own in settings.items():
        if own.mode == "full":
            getattr(base, part).float()
    if device == "cpu" and dtype == torch.bfloat16:
        attend_in_float32(base.encoder)
    if device == "cpu" and not recipe.compile:
        # Elsewhere a launch for every row costs more than the padding.
        attend_packed(base.decoder)
    for module in model.modules():
        if hasattr(module, "cast_input_dtype_enabled"):
            # Autocast sees to it, without a copy in float32 of every input.
            module.cast_input_dtype_enabled = False
    return model, processor


def precision(recipe: Recipe) -> torch.dtype:
    """Return the type of the frozen weights and of matrix products."""
    if recipe.dtype:
        return getattr(torch, recipe.dtype)
    return devices.default_dtype(devices.default_device())


def _open(
    recipe: Recipe, dtype: torch.dtype
) -> tuple[E2LLMForCausalLM | PeftModel, E2LLMProcessor]:
    """Load the pair to go on from, or make a new one of an encoder and a decoder."""
    options: dict[str, Any] = {"dtype": dtype}
    if recipe.quantize:
        options["quantization_config"] = _quantization(dtype)
    fields = dict(recipe.pair)
    if "model" not in fields:
        return assemble(fields.pop("encoder"), fields.pop("decoder"), **fields, **options)
    path = find_pair(str(fields["model"]))
    config = E2LLMConfig.from_pretrained(path)
    return load_trainable(path, config, **options), load_processor(path, config)


def _attach(model: E2LLMForCausalLM, lora: Mapping[str, PartSettings]) -> PeftModel:
    """Put LoRA on some parts of a pair that has none, each with its own rank and scale."""
    ranks = {part: own.rank or RANK for part, own in lora.items()}
    alphas = {part: own.alpha or 2 * ranks[part] for part, own in lora.items()}
    last = [*lora][-1]  # PEFT wants one rank and scale for what the patterns do not name
    return attach_lora(
        model,
        rank=ranks[last],
        alpha=int(alphas[last]),
        dropout=lora[last].dropout,
        target_modules="|".join(_targets(model, part, own.targets) for part, own in lora.items()),
        rank_pattern={rf"{part}\..*": rank for part, rank in ranks.items()},
        alpha_pattern={rf"{part}\..*": alpha for part, alpha in alphas.items()},
    )


def _go_on(model: PeftModel, part: str, settings: PartSettings) -> None:
    """Put LoRA on a part of a pair whose LoRA is elsewhere, or widen what is there."""
    if not lora_layers(model, part):
        targets = _targets(model.get_base_model(), part, settings.targets)
        rank = settings.rank or RANK
        extend_lora(model, part, targets, rank, settings.alpha or 2 * rank)
        return
    if named := settings.targets:
        raise UserError(
            f"`{part}.targets` (={[*named]}): the LoRA of the pair to go on from has places of "
            "its own; leave it out."
        )
    if settings.rank:
        widen_lora(model, part, settings.rank)


def _targets(model: E2LLMForCausalLM, part: str, names: tuple[str, ...] | None) -> str:
    """Return the pattern of the linear layers of a part that LoRA reaches."""
    if names is None:
        return LORA_TARGETS.replace("(encoder|decoder)", part)
    # The last part of the name of each layer that LoRA may reach, such as q_proj.
    linear = {
        name.rpartition(".")[2]
        for name, module in model.get_submodule(part).named_modules()
        if re.fullmatch(LORA_TARGETS, f"{part}.{name}")
    }
    for name in names:
        check_choice(f"{part}.targets", name, sorted(linear))
    return rf"{part}\..*\.({'|'.join(names)})"


def _quantization(dtype: torch.dtype) -> Any:
    """Return the settings of QLoRA: weights in NF4, their scales quantised again."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
