"""The two pretrained models of a pair, and what an encoder's folder says of itself.

A base is named by a folder, a hub name, a `.gguf` file, or `package:MODULE/PATH` for weights inside
an installed package (found without running the package's code). Weights are read from safetensors
or GGUF, never from pickles, and a repository's own code runs only under `trust_remote_code=True`.
"""

import importlib.util
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForTextEncoding,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import cached_file

from e2llm.errors import E2LLMError, MissingPackageError, UserError
from e2llm.model.gguf import convert_gguf

logger = logging.getLogger(__name__)

PACKAGE_PREFIX = "package:"
GGUF_SUFFIX = ".gguf"
# These families count positions from the padding id, so their tables hold that many fewer.
_POSITIONS_AFTER_PADDING = ("roberta", "camembert", "mpnet", "longformer", "xmod")
_HUB_OPTIONS = ("token", "cache_dir", "local_files_only", "trust_remote_code", "revision")


@dataclass(frozen=True)
class EncoderSettings:
    """What a sentence-transformers folder says of its encoder.

    The defaults stand where it says nothing.
    """

    embedding_pooling: str = "mean"
    embedding_normalize: bool = True
    query_prompt: str = ""
    document_prompt: str = ""
    include_prompt: bool = True
    encoder_max_tokens: int | None = None
    subfolder: str = ""


def resolve(name: str) -> str:
    """Turn `package:MODULE/PATH` into the path it stands for.

    A folder becomes absolute, and a hub name stays as it is.

    Raises:
        MissingPackageError: The package is not installed.
    """
    if not name.startswith(PACKAGE_PREFIX):
        return os.path.abspath(name) if os.path.exists(name) else name
    module, _, inside = name.removeprefix(PACKAGE_PREFIX).partition("/")
    if not module.isidentifier() or ".." in Path(inside).parts or os.path.isabs(inside):
        raise UserError(
            f"{name!r} must be {PACKAGE_PREFIX}MODULE/PATH: a top-level package, whose code "
            "is not run, and a path inside it."
        )
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise MissingPackageError(
            f"the weights {name!r} are in the package {module!r}, which is not installed; run "
            "`e2llm models --fetch`."
        )
    path = Path(spec.submodule_search_locations[0]) / inside
    if not path.exists():
        raise MissingPackageError(
            f"the package {module!r} holds no {inside!r}; run `e2llm models --fetch` to get "
            "the tested version."
        )
    return str(path)


def load_encoder(name: str, **options: Any) -> PreTrainedModel:
    """Load a text encoder; `options` go to `from_pretrained`.

    Raises:
        UserError: There is no such model, or it has no safetensors.
    """
    path = resolve(name)
    # A sentence-transformers folder may hold the encoder in a folder of its own.
    options.setdefault("subfolder", read_encoder_settings(name, **hub_options(options)).subfolder)
    config = _from_pretrained(
        "encoder", AutoConfig, name, path, **hub_options(options), subfolder=options["subfolder"]
    )
    # Of a model such as T5 the encoder alone is loaded.
    auto = AutoModelForTextEncoding if getattr(config, "is_encoder_decoder", False) else AutoModel
    model = _from_pretrained(
        "encoder", auto, name, path, config=config, use_safetensors=True, **options
    )
    model.config._name_or_path = name
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False
    return model


def load_decoder(name: str, **options: Any) -> PreTrainedModel:
    """Load a decoder-only LLM with its head; `options` go to `from_pretrained`.

    A GGUF file is converted once and kept.

    Raises:
        UserError: There is no such model, or it has no safetensors.
    """
    model = _from_pretrained(
        "decoder", AutoModelForCausalLM, name, _decoder_path(name), use_safetensors=True, **options
    )
    model.config._name_or_path = name
    for module in model.modules():
        # bitsandbytes packs 4-bit weights in another order at the first inference on a CPU: they
        # would no longer be those that were loaded, and no gradient would pass through them.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def check_named(config: Any) -> None:
    """Raise `E2LLMError` unless a pair's configuration names its decoder."""
    if config.decoder_name is None:
        raise E2LLMError(
            "the pair does not name its decoder, only holds its weights; compare with a "
            "pair that `e2llm pair` made."
        )


def load_untrained_decoder(config: Any, own: PreTrainedModel) -> PreTrainedModel:
    """Load the decoder that a pair's configuration names, as it was before any training.

    Args:
        config: Of the pair.
        own: The pair's decoder, for its dtype and device.
    """
    name, revision = str(config.decoder_name), config.decoder_revision
    return load_decoder(name, revision=revision, dtype=own.dtype).to(own.device).eval()


def load_decoder_tokenizer(name: str, **options: Any) -> PreTrainedTokenizerBase:
    """Load the decoder's tokenizer."""
    return _from_pretrained("decoder", AutoTokenizer, name, _decoder_path(name), **options)


def load_encoder_tokenizer(name: str, **options: Any) -> PreTrainedTokenizerBase:
    """Load the encoder's tokenizer.

    It must be a fast one, which knows the place of each token in the text.
    """
    subfolder = read_encoder_settings(name, **options).subfolder
    tokenizer = _from_pretrained(
        "encoder", AutoTokenizer, name, resolve(name), subfolder=subfolder, **options
    )
    if not tokenizer.is_fast:
        raise UserError(
            f"`encoder` (={name!r}) has no fast tokenizer, which chunk spans need; choose an "
            "encoder with a tokenizer.json."
        )
    return tokenizer


def read_encoder_settings(name: str, **options: Any) -> EncoderSettings:
    """Read what a sentence-transformers folder says: modules, pooling, prompts, longest input."""
    path = resolve(name)
    modules = _read_json(path, "modules.json", options)
    if not isinstance(modules, list):
        return EncoderSettings()
    kinds: dict[str, str] = {}  # the folder of each kind of module
    for module in modules:
        kinds[str(module.get("type", "")).rsplit(".", 1)[-1]] = str(module.get("path", ""))
    for kind in kinds.keys() - {"Transformer", "Pooling", "Normalize"}:
        logger.warning(
            "%s: the sentence-transformers module %s is not applied to the sentence embedding.",
            name,
            kind,
        )
    subfolder = kinds.get("Transformer", "")
    if any(os.path.isabs(folder) or ".." in Path(folder).parts for folder in kinds.values()):
        raise UserError(
            f"`encoder` (={name!r}): its modules.json names a folder outside it; get the "
            "model from where it was published."
        )
    pooling: dict[str, Any] = {}
    if "Pooling" in kinds:
        pooling = _read_json(path, f"{kinds['Pooling']}/config.json", options) or {}
    limits = _read_json(path, f"{subfolder}/sentence_bert_config.json".lstrip("/"), options) or {}
    general = _read_json(path, "config_sentence_transformers.json", options) or {}
    prompts = general.get("prompts") or {}
    default = prompts.get(general.get("default_prompt_name") or "", "")
    return EncoderSettings(
        embedding_pooling=_pooling_mode(name, pooling),
        embedding_normalize="Normalize" in kinds
        or general.get("similarity_fn_name", "cosine") in ("cosine", None),
        query_prompt=prompts.get("query") or default,
        document_prompt=prompts.get("document") or prompts.get("passage") or default,
        include_prompt=pooling.get("include_prompt", True),
        encoder_max_tokens=limits.get("max_seq_length"),
        subfolder=subfolder,
    )


def encoder_max_tokens(
    settings: EncoderSettings, tokenizer: PreTrainedTokenizerBase, config: Any
) -> int:
    """Return the longest input of the encoder.

    It is the least of what its folder, its tokenizer and its position table allow.
    """
    positions = getattr(config, "max_position_embeddings", None)
    if positions and any(family in config.model_type for family in _POSITIONS_AFTER_PADDING):
        # MPNet's class takes 1 for the padding id, whatever its configuration says.
        positions -= (1 if config.model_type == "mpnet" else config.pad_token_id or 0) + 1
    limits = [
        limit
        for limit in (settings.encoder_max_tokens, tokenizer.model_max_length, positions)
        if limit and limit > 0
    ]
    # A tokenizer that knows no limit says 1e30, so that a number must stand for none.
    return int(min([*limits, 8192]))


def input_embedding_norm(decoder: PreTrainedModel) -> float:
    """Measure the mean norm of the decoder's input embeddings, as its module puts them out.

    Rows with no norm (padding, ids that no token uses) are left out.
    """
    table = decoder.get_input_embeddings()
    ids = torch.arange(table.num_embeddings, device=table.weight.device)  # (vocab,)
    with torch.no_grad():
        # A part of the table at a time: (4096, d_dec) -> (4096,), all of it -> (vocab,)
        norms = torch.cat([table(part).float().norm(dim=-1) for part in ids.split(4096)])
    return float(norms[norms > 1e-6].mean())


def _decoder_path(name: str) -> str:
    path = resolve(name)
    if not (path.endswith(GGUF_SUFFIX) and os.path.isfile(path)):
        return path
    try:
        return str(convert_gguf(Path(path)))
    # What a damaged file makes of the parser.
    except (ValueError, KeyError, IndexError, RuntimeError, NotImplementedError) as error:
        raise UserError(
            f"`decoder` (={name!r}) is no GGUF file that can be read: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error


def hub_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return those of `options` that say where and how to look on the hub."""
    return {name: options[name] for name in _HUB_OPTIONS if name in options}


def _from_pretrained(argument: str, auto: Any, name: str, path: str, **options: Any) -> Any:
    options.setdefault("trust_remote_code", False)  # else the library asks at the terminal
    try:
        return auto.from_pretrained(path, **options)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # a damaged folder makes the loaders fail with whatever comes
        reason = " ".join(str(error).split())
        if "trust_remote_code" in reason:
            raise UserError(
                f"`{argument}` (={name!r}) brings its own code, which runs only where you "
                "allow it: `trust_remote_code=True` (--trust-remote-code)."
            ) from error
        raise UserError(
            f"`{argument}` (={name!r}) cannot be loaded; name a folder or a hub model with "
            f"safetensors. The library says: {reason[:300]}"
        ) from error


def _read_json(path: str, file: str, options: dict[str, Any]) -> Any:
    if os.path.isdir(path):
        found: str | None = os.path.join(path, file)
    else:
        hub = hub_options(options)
        hub.pop("trust_remote_code", None)
        # A file that is not there is no error here, nor is a hub that cannot be reached.
        kinds = ("missing_entries", "connection_errors", "gated_repo")
        quiet = {f"_raise_exceptions_for_{kind}": False for kind in kinds}
        try:
            found = cached_file(path, file, **quiet, **hub)
        except OSError:  # a name that the hub cannot have; loading the model itself says so better
            return None
    if found is None or not os.path.isfile(found):
        return None
    try:
        with open(found, encoding="utf-8") as stream:
            return json.load(stream)
    except ValueError as error:
        raise UserError(f"`{found}` is not JSON ({error}); get the model again.") from error


def _pooling_mode(name: str, pooling: dict[str, Any]) -> str:
    """Read the pooling's mode: one name, or a flag per mode ("pooling_mode_mean_tokens")."""
    prefix = "pooling_mode_"
    flags = [key for key, value in pooling.items() if value is True and key.startswith(prefix)]
    modes = [flag.removeprefix(prefix).removesuffix("s").removesuffix("_token") for flag in flags]
    if isinstance(pooling.get("pooling_mode"), str):
        modes = [pooling["pooling_mode"]]
    if len(modes) == 1 and modes[0] in ("mean", "cls", "max", "lasttoken"):
        return modes[0]
    if modes:
        logger.warning(
            "%s: the sentence embedding's pooling (%s) is not known here; the mean is used "
            "to rank chunks.",
            name,
            "+".join(modes),
        )
    return "mean"
