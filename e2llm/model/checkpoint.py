"""A pair on disk: load it, load it as training goes on from it, save it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import GenerationConfig
from transformers.utils import cached_file

from e2llm.errors import UserError
from e2llm.model import bases
from e2llm.model.assembling import join, pop_quantization, processor_of, revised
from e2llm.model.configuration import E2LLMConfig
from e2llm.model.modeling import E2LLMForCausalLM
from e2llm.model.plain_lora import merge_plain_lora
from e2llm.model.processing import E2LLMProcessor

if TYPE_CHECKING:
    from peft import PeftModel

ADAPTER_FILE = "model.safetensors"
LORA_FOLDER = "lora"
LORA_CONFIG = f"{LORA_FOLDER}/adapter_config.json"
LORA_WEIGHTS = f"{LORA_FOLDER}/adapter_model.safetensors"


def load_pair(path: str, name: str, **options: Any) -> tuple[E2LLMForCausalLM, E2LLMProcessor]:
    """Load model and processor of a pair.

    Args:
        path: Folder, or name on the hub.
        name: What the user called it.
        options: Passed to transformers (`dtype`, `revision`, `token`, `device_map`, ...).

    Raises:
        UserError: There is no such pair, or a part of it cannot be loaded.
    """
    hub = bases.hub_options(options)
    try:
        if find_file(path, "config.json", **hub) is None:
            raise FileNotFoundError(path)
        config = E2LLMConfig.from_pretrained(path, **hub)
    except (OSError, ValueError) as error:
        raise UserError(
            f"`name` (={name!r}) is no pair; name a folder that `e2llm pair` made, a hub name, or "
            "a shipped pair."
        ) from error
    if config.model_type != E2LLMConfig.model_type:
        raise UserError(
            f"`name` (={name!r}) is a {config.model_type} model, not a pair; make one with `e2llm "
            "pair ENCODER DECODER -o DIR`."
        )
    model = E2LLMForCausalLM.from_pretrained(path, config=config, **options)
    return model, load_processor(path, config, **hub)


def load_light(path: Any, config: E2LLMConfig, **options: Any) -> E2LLMForCausalLM:
    """Load a checkpoint of the trained parts alone, with the two bases that it names.

    Its LoRA is merged into them.

    Raises:
        UserError: A base cannot be loaded, or the adapter's weights are missing or of another
            shape.
    """
    hub = bases.hub_options(options)
    dtype = options.get("dtype")
    lora = find_file(path, LORA_CONFIG, **hub)
    in_float = (
        bool(lora) and isinstance(dtype, torch.dtype) and "quantization_config" not in options
    )
    if in_float:
        # LoRA is merged in float32, so that the result does not depend on the dtype asked for.
        options["dtype"] = torch.float32
    model = _load_parts(path, config, **options)
    if lora is not None:
        weights = find_file(path, LORA_WEIGHTS, **hub)
        if weights is None or not merge_plain_lora(model, lora, weights):
            model = _put_lora(path, lora, model).merge_and_unload()
    if in_float:
        # No buffer: rotary frequencies rounded to bfloat16 are wrong at every far position.
        for parameter in model.parameters():
            parameter.data = parameter.data.to(dtype)
    return model.eval()


def load_trainable(
    path: Any, config: E2LLMConfig, **options: Any
) -> "E2LLMForCausalLM | PeftModel":
    """Load a checkpoint as training goes on from it: its LoRA stays beside the bases, under PEFT.

    Raises:
        UserError: As `load_light`.
    """
    if not config.has_bases:
        return E2LLMForCausalLM.from_pretrained(path, config=config, **options)
    model = _load_parts(path, config, **options)
    lora = find_file(path, LORA_CONFIG, **bases.hub_options(options))
    return model if lora is None else _put_lora(path, lora, model)


def _load_parts(path: Any, config: E2LLMConfig, **options: Any) -> E2LLMForCausalLM:
    """Load the two bases and the adapter, without LoRA."""
    quantization = pop_quantization(options)
    hub = bases.hub_options(options)
    encoder_name, decoder_name = str(config.encoder_name), str(config.decoder_name)
    encoder = bases.load_encoder(encoder_name, **revised(options, config.encoder_revision))
    own = revised(options, config.decoder_revision)
    decoder = bases.load_decoder(decoder_name, **own, **quantization)
    # How the pair writes, such as its repetition penalty, goes before what its base's folder says.
    if (generation := find_file(path, "generation_config.json", **hub)) is not None:
        decoder.generation_config = GenerationConfig.from_pretrained(str(Path(generation).parent))
    model = join(config, encoder, decoder)
    # An untrained pair may hold no weights: its seed decides them.
    file = find_file(path, ADAPTER_FILE, **hub)
    if file is not None:
        missing, unexpected = _load_adapter(model, file)
        if missing or unexpected:
            raise UserError(
                f"`{path}`: {ADAPTER_FILE} does not fit its config.json (missing: "
                f"{missing[:3]}, unexpected: {unexpected[:3]})."
            )
    elif config.trained and find_file(path, LORA_CONFIG, **hub) is None:
        raise UserError(
            f"`{path}` holds no {ADAPTER_FILE}, though its config.json says that the adapter "
            "is trained; copy the whole folder."
        )
    return model


def _put_lora(path: Any, lora: str, model: E2LLMForCausalLM) -> "PeftModel":
    """Put a checkpoint's LoRA, whose configuration is the file `lora`, on its bases."""
    # Imported here: it takes seconds, and a pair that is only read does without.
    from peft import PeftModel

    from e2llm.model.lora import quiet_peft

    # The hub's other files of the folder are fetched by PEFT itself.
    source = {"model_id": path, "subfolder": LORA_FOLDER}
    if os.path.isdir(path):
        source = {"model_id": str(Path(lora).parent)}
    with quiet_peft():
        return PeftModel.from_pretrained(model, is_trainable=True, **source)


def load_processor(path: Any, config: E2LLMConfig, **hub: Any) -> E2LLMProcessor:
    """Load a pair's processor from its folder, or from its bases where that holds no tokenizers."""
    if find_file(path, "processor_config.json", **hub) is not None:
        try:
            return E2LLMProcessor.from_pretrained(path, **hub)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:300].rstrip(".")
            raise UserError(
                f"`{path}`: its processor cannot be loaded ({reason}); copy the whole folder again."
            ) from error
    if not config.has_bases:
        raise UserError(
            f"`{path}` holds neither a processor_config.json nor the names of its bases; copy "
            "the whole folder."
        )
    decoder_hub = revised(hub, config.decoder_revision)
    tokenizer = bases.load_decoder_tokenizer(str(config.decoder_name), **decoder_hub)
    encoder_hub = revised(hub, config.encoder_revision)
    encoder_tokenizer = bases.load_encoder_tokenizer(str(config.encoder_name), **encoder_hub)
    return processor_of(config, tokenizer, encoder_tokenizer)


def save_pair(
    model: "E2LLMForCausalLM | PeftModel", processor: E2LLMProcessor, path: str | os.PathLike[str]
) -> None:
    """Save a pair: configuration, tokenizers, adapter; the bases by name.

    LoRA that PEFT holds goes to a folder of its own, `lora`.

    Raises:
        UserError: The LoRA stands on weights that no named base holds.
    """
    if not isinstance(model, E2LLMForCausalLM):
        base = model.get_base_model()
        if not base.holds_bases(lora=False):
            raise UserError(
                f"`path` (={str(path)!r}): this LoRA stands on weights that no named base "
                "holds, so a folder without them could not be loaded; merge it first "
                "(`model.merge_and_unload()`), then save, which writes every weight."
            )
        base.config.save_pretrained(path)
        base.generation_config.save_pretrained(path)
        model.save_pretrained(Path(path) / LORA_FOLDER)
    else:
        model.save_pretrained(path)
    processor.save_pretrained(path)


def find_file(path: Any, file: str, **hub: Any) -> str | None:
    """Return where a file of a folder or a hub name lies on this machine, or None."""
    if os.path.isdir(path):
        found = os.path.join(path, file)
        return found if os.path.isfile(found) else None
    hub = {name: value for name, value in hub.items() if name != "trust_remote_code"}
    return cached_file(path, file, _raise_exceptions_for_missing_entries=False, **hub)


def _load_adapter(model: E2LLMForCausalLM, file: str) -> tuple[list[str], list[str]]:
    wanted = {f"adapter.{name}" for name in model.adapter.state_dict()}
    try:
        state = load_file(file)
        # Not strict: the bases are not in the file, and what the adapter lacks is returned.
        model.load_state_dict(state, strict=False)
    except SafetensorError as error:
        raise UserError(f"`{file}` is truncated or damaged; copy the pair again.") from error
    except RuntimeError as error:
        raise UserError(
            f"`{file}` does not fit the bases that config.json names: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error
    return sorted(wanted - state.keys()), sorted(state.keys() - wanted)
