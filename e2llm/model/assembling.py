"""Put a pair together from two pretrained checkpoints, load it again, and take it apart."""

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import GenerationConfig
from transformers.utils import cached_file

from e2llm.checks import check_choice, check_count, check_ratio
from e2llm.chunking import Chunker
from e2llm.errors import UserError
from e2llm.model import bases
from e2llm.model.adapters import ADAPTERS
from e2llm.model.configuration import E2LLMConfig
from e2llm.model.modeling import LORA_FOLDER, LORA_TARGETS, E2LLMForCausalLM, digest_weights
from e2llm.model.pooling import POOLINGS
from e2llm.model.processing import E2LLMProcessor

ADAPTER_FILE = "model.safetensors"
LORA_CONFIG = f"{LORA_FOLDER}/adapter_config.json"


def assemble(
    encoder: str, decoder: str, *, adapter: str = "mlp", pooling: str | None = None, **options: Any
) -> tuple[E2LLMForCausalLM, E2LLMProcessor]:
    """Make an untrained pair from two checkpoints.

    Args:
        encoder, decoder: A folder, a hub name, a GGUF file (decoder), or `package:MODULE/PATH`.
        adapter: "linear", "mlp" or "vpma".
        pooling: "mean", "cls", "attention" or "tokens"; None for the adapter's own default.
        options: Fields of `E2LLMConfig` (`chunk_chars`, `ratio`, `seed`, `encoder_revision`, ...); what is left goes to both
            `from_pretrained`, `quantization_config` to the decoder's alone.

    Raises:
        UserError: A model cannot be loaded, or a name is unknown.
    """
    check_choice("adapter", adapter, list(ADAPTERS))
    pooling = pooling or ADAPTERS[adapter].default_pooling
    check_choice("pooling", pooling, list(POOLINGS))
    if "embedding_pooling" in options:
        check_choice("embedding_pooling", options["embedding_pooling"], ["mean", "cls", "max", "lasttoken"])
    fields = {name: options.pop(name) for name in list(options) if name in E2LLMConfig.__dataclass_fields__ and name != "dtype"}
    encoder_revision, decoder_revision = fields.get("encoder_revision"), fields.get("decoder_revision")
    quantization = _pop_quantization(options)
    encoder_model = bases.load_encoder(encoder, **_revised(options, encoder_revision))
    decoder_model = bases.load_decoder(decoder, **_revised(options, decoder_revision), **quantization)
    hub = bases.hub_options(options)
    settings = bases.read_encoder_settings(encoder, **_revised(hub, encoder_revision))
    encoder_tokenizer = bases.load_encoder_tokenizer(encoder, **_revised(hub, encoder_revision))
    tokenizer = bases.load_decoder_tokenizer(decoder, **_revised(hub, decoder_revision))
    if not _is_causal(decoder_model):
        raise UserError(
            f"`decoder` (={decoder!r}) reads text in both directions, so it cannot write; name a decoder-only LLM (are the two swapped?)."
        )
    told = {
        "embedding_include_prompt": settings.include_prompt,
        "embedding_pooling": settings.embedding_pooling,
        "embedding_normalize": settings.embedding_normalize,
        "query_prompt": settings.query_prompt,
        "document_prompt": settings.document_prompt,
        "encoder_max_tokens": bases.encoder_max_tokens(settings, encoder_tokenizer, encoder_model.config),
        "soft_token_norm": bases.input_embedding_norm(decoder_model),
    }
    config = E2LLMConfig(
        encoder_config=encoder_model.config,
        text_config=decoder_model.config,
        encoder_name=_absolute(encoder),
        decoder_name=_absolute(decoder),
        adapter=adapter,
        pooling=pooling,
        **{**told, **fields},
    )
    processor = processor_of(config, tokenizer, encoder_tokenizer)
    _check_defaults(config, processor.chunker)
    return _join(config, encoder_model, decoder_model), processor


def _is_causal(decoder: Any) -> bool:
    """Tell whether what the model says of a token does not depend on the token after it."""
    ids = torch.tensor([[5, 6, 7], [5, 6, 8]], device=decoder.device) % decoder.config.get_text_config().vocab_size
    with torch.no_grad():
        first, second = decoder.eval()(input_ids=ids).logits.float()
    before, after = (first - second).norm(dim=-1)[1:].tolist()
    return before < 1e-4 * after


def load_light(path: Any, config: E2LLMConfig, **options: Any) -> E2LLMForCausalLM:
    """Load a checkpoint that holds the trained parts alone, beside the two bases that its configuration names; its LoRA is merged into them.

    Raises:
        UserError: A base cannot be loaded, or the adapter's weights are missing or of another shape.
    """
    hub = bases.hub_options(options)
    dtype = options.get("dtype")
    has_lora = find_file(path, LORA_CONFIG, **hub) is not None
    in_float = has_lora and isinstance(dtype, torch.dtype) and "quantization_config" not in options
    if in_float:
        options["dtype"] = torch.float32  # in which LoRA is merged, so that the result does not depend on the dtype asked for
    model = load_trainable(path, config, **options)
    if isinstance(model, PeftModel):
        model = model.merge_and_unload()
    if in_float:
        for parameter in model.parameters():  # and no buffer: rotary frequencies rounded to bfloat16 are wrong at every far position
            parameter.data = parameter.data.to(dtype)
    return model.eval()


def load_trainable(path: Any, config: E2LLMConfig, **options: Any) -> E2LLMForCausalLM | PeftModel:
    """Load a checkpoint as training goes on from it: its LoRA stays beside the bases, under PEFT.

    Raises:
        UserError: As `load_light`.
    """
    if not config.has_bases:
        return E2LLMForCausalLM.from_pretrained(path, config=config, **options)
    quantization = _pop_quantization(options)
    hub = bases.hub_options(options)
    lora = find_file(path, LORA_CONFIG, **hub)
    encoder = bases.load_encoder(config.encoder_name, **_revised(options, config.encoder_revision))  # type: ignore[arg-type]
    decoder = bases.load_decoder(config.decoder_name, **_revised(options, config.decoder_revision), **quantization)  # type: ignore[arg-type]
    if (generation := find_file(path, "generation_config.json", **hub)) is not None:
        decoder.generation_config = GenerationConfig.from_pretrained(str(Path(generation).parent))
    model = _join(config, encoder, decoder)
    file = find_file(path, ADAPTER_FILE, **hub)
    if file is not None:
        missing, unexpected = _load_adapter(model, file)
        if missing or unexpected:
            raise UserError(f"`{path}`: {ADAPTER_FILE} does not fit its config.json (missing: {missing[:3]}, unexpected: {unexpected[:3]}).")
    elif config.trained and lora is None:
        raise UserError(f"`{path}` holds no {ADAPTER_FILE}, though its config.json says that the adapter is trained; copy the whole folder.")
    if lora is None:
        return model
    # The hub's other files of the folder are fetched by PEFT itself.
    source = {"model_id": str(Path(lora).parent)} if os.path.isdir(path) else {"model_id": path, "subfolder": LORA_FOLDER}
    return PeftModel.from_pretrained(model, is_trainable=True, **source)


def attach_lora(model: E2LLMForCausalLM, rank: int = 16, alpha: int = 32, dropout: float = 0.0, **options: Any) -> PeftModel:
    """Put LoRA on encoder and decoder with one PEFT configuration and leave the adapter fully trainable (paper section 3.1).

    Args:
        rank: LoRA rank (the paper: 16-32 for the encoder, 8-16 for the decoder; `rank_pattern` in `options` sets them apart).
        alpha: LoRA scale.
        dropout: LoRA dropout.
        options: Further fields of PEFT's `LoraConfig`.
    """
    settings = {"target_modules": LORA_TARGETS, "modules_to_save": ["adapter"], "task_type": "CAUSAL_LM", **options}
    return get_peft_model(model, LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, **settings))


def lora_layers(model: PeftModel, part: str) -> list[LoraLayer]:
    """Return the layers of a part ("encoder" or "decoder") that have LoRA."""
    return [module for module in model.get_base_model().get_submodule(part).modules() if isinstance(module, LoraLayer)]


def extend_lora(model: PeftModel, part: str, targets: str, rank: int, alpha: float) -> None:
    """Put LoRA on a part of a pair whose LoRA is on the other part alone; at first it changes nothing that the pair computes.

    Args:
        model: The pair under PEFT.
        part: "encoder" or "decoder".
        targets: Pattern of the layers that it reaches.
        rank, alpha: Its rank and scale.
    """
    name = model.active_adapter
    config = model.peft_config[name]
    before = config.target_modules
    if not isinstance(before, str):  # the ends of the layers' names
        before = rf"(.*\.)?({'|'.join(map(re.escape, before))})"
    config.rank_pattern = {**config.rank_pattern, rf"{part}\..*": rank}
    config.alpha_pattern = {**config.alpha_pattern, rf"{part}\..*": alpha}
    config.target_modules = targets  # PEFT puts LoRA on what this names and leaves the rest as it is
    model.base_model.inject_adapter(model.get_base_model(), name)
    for layer in lora_layers(model, part):  # in float32, as where LoRA is attached or loaded
        layer.lora_A.float()
        layer.lora_B.float()
    config.target_modules = f"{before}|{targets}"


def widen_lora(model: PeftModel, part: str, rank: int) -> None:
    """Give the LoRA of a part a higher rank and change nothing that it computes: rows are drawn as PEFT draws them, their columns are zero.

    Args:
        model: The pair under PEFT.
        part: "encoder" or "decoder".
        rank: The new rank; what is as wide already stays.

    Raises:
        UserError: Its layers have ranks, scales or patterns of their own, which one configuration could not say for the new rank.
    """
    config = model.peft_config[model.active_adapter]
    layers = lora_layers(model, part)
    narrow = [layer for layer in layers if layer.r[model.active_adapter] < rank]
    if not narrow:
        return
    scales = {layer.scaling[model.active_adapter] for layer in layers}
    ranks, alphas = ({key: value for key, value in old.items() if not key.startswith(part)} for old in (config.rank_pattern, config.alpha_pattern))
    other = {"encoder": "decoder", "decoder": "encoder"}[part]
    if len(scales) > 1 or len(narrow) < len(layers) or not all(key.startswith(other) for key in [*ranks, *alphas]):
        raise UserError(
            f"`{part}.rank` (={rank}): the layers of the pair's LoRA differ in rank, scale or pattern; leave `rank` at the lowest of theirs."
        )
    (scale,) = scales
    alpha = scale * (math.sqrt(rank) if config.use_rslora else rank)
    name = model.active_adapter
    for layer in narrow:
        down, up, n_more = layer.lora_A[name], layer.lora_B[name], rank - layer.r[name]
        rows = torch.nn.init.kaiming_uniform_(down.weight.new_empty(n_more, down.in_features), a=math.sqrt(5))
        columns = up.weight.new_zeros(up.out_features, n_more)
        for factor, more, dim in ((down, rows, 0), (up, columns, 1)):
            factor.weight = torch.nn.Parameter(torch.cat([factor.weight.detach(), more], dim), factor.weight.requires_grad)
        down.out_features = up.in_features = layer.r[name] = rank
        layer.lora_alpha[name] = alpha
    pattern = rf"{part}\..*"
    config.rank_pattern = {**ranks, pattern: rank}
    config.alpha_pattern = {**alphas, pattern: alpha}


def save_pair(model: E2LLMForCausalLM | PeftModel, processor: E2LLMProcessor, path: str | os.PathLike[str]) -> None:
    """Save a pair: configuration, tokenizers, adapter, and the LoRA in its own folder where PEFT holds one; the bases by name."""
    if isinstance(model, PeftModel):
        base = model.get_base_model()
        if not base.holds_bases(lora=False):
            raise UserError(
                f"`path` (={str(path)!r}): this LoRA stands on weights that no named base holds, so a folder without them could not be loaded; "
                "merge it first (`model.merge_and_unload()`), then save, which writes every weight."
            )
        base.config.save_pretrained(path)
        base.generation_config.save_pretrained(path)
        model.save_pretrained(Path(path) / LORA_FOLDER)
    else:
        model.save_pretrained(path)
    processor.save_pretrained(path)


def load_processor(path: Any, config: E2LLMConfig, **hub: Any) -> E2LLMProcessor:
    """Load a pair's processor: from its folder, or, where that holds no tokenizers, from its two bases."""
    if find_file(path, "processor_config.json", **hub) is not None:
        try:
            return E2LLMProcessor.from_pretrained(path, **hub)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:300].rstrip(".")
            raise UserError(f"`{path}`: its processor cannot be loaded ({reason}); copy the whole folder again.") from error
    if not config.has_bases:
        raise UserError(f"`{path}` holds neither a processor_config.json nor the names of its bases; copy the whole folder.")
    tokenizer = bases.load_decoder_tokenizer(config.decoder_name, **_revised(hub, config.decoder_revision))  # type: ignore[arg-type]
    encoder_tokenizer = bases.load_encoder_tokenizer(config.encoder_name, **_revised(hub, config.encoder_revision))  # type: ignore[arg-type]
    return processor_of(config, tokenizer, encoder_tokenizer)


def processor_of(config: E2LLMConfig, tokenizer: Any, encoder_tokenizer: Any) -> E2LLMProcessor:
    """Build the processor that fits a configuration."""
    return E2LLMProcessor(
        tokenizer,
        encoder_tokenizer,
        placeholder_id=config.placeholder_id,
        encoder_max_tokens=config.encoder_max_tokens,
        pool_special_tokens=POOLINGS[config.pooling].reads_special_tokens,
        document_prompt=config.document_prompt,
        chunk_chars=config.chunk_chars,
        overlap_chars=config.overlap_chars,
        window_chunks=config.window_chunks,
        ratio=config.ratio,
    )


def set_defaults(config: E2LLMConfig, processor: E2LLMProcessor, fields: Mapping[str, Any]) -> None:
    """Change how a pair compresses unless asked otherwise.

    Args:
        config, processor: Of the pair.
        fields: Some of `chunk_chars`, `overlap_chars`, `window_chunks`, `ratio` and `expand`, with their values.

    Raises:
        UserError: The pair could not compress so.
    """
    for name, value in fields.items():
        setattr(config, name, value)
        if hasattr(processor, name):
            setattr(processor, name, value)
    _check_defaults(config, processor.chunker)


def find_file(path: Any, file: str, **hub: Any) -> str | None:
    """Return where `file` of a folder or a hub name lies on this machine, or None where there is none."""
    if os.path.isdir(path):
        found = os.path.join(path, file)
        return found if os.path.isfile(found) else None
    hub = {name: value for name, value in hub.items() if name != "trust_remote_code"}
    return cached_file(path, file, _raise_exceptions_for_missing_entries=False, **hub)


def _check_defaults(config: E2LLMConfig, chunker: Chunker) -> None:
    """Raise `UserError` where a pair could not compress with its own defaults; the chunker has checked its own."""
    check_ratio(config.ratio)
    if check_count("window_chunks", config.window_chunks, 1, "chunk") > 1 and chunker.overlap:
        raise UserError(f"`window_chunks` (={config.window_chunks}) must be 1 where chunks overlap (={chunker.overlap} characters).")
    check_count("expand", config.expand, 0, "chunks")
    if not 0 <= config.seed < 2**63:
        raise UserError(f"`seed` (={config.seed}) must be at least 0 and less than 2**63.")


def _join(config: E2LLMConfig, encoder: Any, decoder: Any) -> E2LLMForCausalLM:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = E2LLMForCausalLM(config, encoder, decoder)
    embeddings = decoder.get_input_embeddings().weight
    model.adapter.to(device=embeddings.device, dtype=embeddings.dtype if embeddings.is_floating_point() else torch.float32)
    model.bases_digest = digest_weights(model, ("encoder.", "decoder."))
    return model.eval()


def _load_adapter(model: E2LLMForCausalLM, file: str) -> tuple[list[str], list[str]]:
    wanted = {f"adapter.{name}" for name in model.adapter.state_dict()}
    try:
        state = load_file(file)
        model.load_state_dict(state, strict=False)
    except SafetensorError as error:
        raise UserError(f"`{file}` is truncated or damaged; copy the pair again.") from error
    except RuntimeError as error:
        raise UserError(f"`{file}` does not fit the bases that config.json names: {' '.join(str(error).split())[:300]}") from error
    return sorted(wanted - state.keys()), sorted(state.keys() - wanted)


def _revised(options: dict[str, Any], revision: str | None) -> dict[str, Any]:
    options = {name: value for name, value in options.items() if name != "revision"}
    return options | ({"revision": revision} if revision else {})


def _pop_quantization(options: dict[str, Any]) -> dict[str, Any]:
    return {"quantization_config": options.pop("quantization_config")} if "quantization_config" in options else {}


def _absolute(name: str) -> str:
    return os.path.abspath(name) if os.path.exists(name) else name
