"""A pair put together from two pretrained checkpoints."""

import os
from collections.abc import Mapping
from typing import Any

import torch

from e2llm.checks import check_choice, check_count, check_ratio
from e2llm.chunking.chunker import Chunker
from e2llm.errors import UserError
from e2llm.model import bases
from e2llm.model.adapters import ADAPTERS
from e2llm.model.configuration import E2LLMConfig
from e2llm.model.digest import digest_weights
from e2llm.model.modeling import E2LLMForCausalLM
from e2llm.model.pooling import POOLINGS
from e2llm.model.processing import E2LLMProcessor


def assemble(
    encoder: str, decoder: str, *, adapter: str = "mlp", pooling: str | None = None, **options: Any
) -> tuple[E2LLMForCausalLM, E2LLMProcessor]:
    """Make an untrained pair from two checkpoints.

    Args:
        encoder, decoder: A folder, a hub name, a GGUF file (decoder), or `package:MODULE/PATH`.
        adapter: "linear", "mlp" or "vpma".
        pooling: "mean", "cls", "attention" or "tokens"; None for the adapter's own default.
        options: Fields of `E2LLMConfig` (`chunk_chars`, `ratio`, `seed`, `encoder_revision`, ...);
            what is left goes to both `from_pretrained`, `quantization_config` to the decoder's
            alone.

    Raises:
        UserError: A model cannot be loaded, or a name is unknown.
    """
    check_choice("adapter", adapter, list(ADAPTERS))
    pooling = pooling or ADAPTERS[adapter].default_pooling
    check_choice("pooling", pooling, list(POOLINGS))
    if "embedding_pooling" in options:
        known = ["mean", "cls", "max", "lasttoken"]
        check_choice("embedding_pooling", options["embedding_pooling"], known)
    own = [name for name in E2LLMConfig.__dataclass_fields__ if name in options and name != "dtype"]
    fields = {name: options.pop(name) for name in own}
    quantization = pop_quantization(options)
    for_encoder = revised(options, fields.get("encoder_revision"))
    for_decoder = revised(options, fields.get("decoder_revision"))
    encoder_model = bases.load_encoder(encoder, **for_encoder)
    decoder_model = bases.load_decoder(decoder, **for_decoder, **quantization)
    settings = bases.read_encoder_settings(encoder, **bases.hub_options(for_encoder))
    encoder_tokenizer = bases.load_encoder_tokenizer(encoder, **bases.hub_options(for_encoder))
    tokenizer = bases.load_decoder_tokenizer(decoder, **bases.hub_options(for_decoder))
    if not _is_causal(decoder_model):
        raise UserError(
            f"`decoder` (={decoder!r}) reads text in both directions, so it cannot write; name a "
            "decoder-only LLM (are the two swapped?)."
        )
    # What the bases say, unless the caller says otherwise.
    told = _told(settings, encoder_tokenizer, encoder_model.config)
    told["soft_token_norm"] = bases.input_embedding_norm(decoder_model)
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
    return join(config, encoder_model, decoder_model), processor


def _told(settings: bases.EncoderSettings, tokenizer: Any, config: Any) -> dict[str, Any]:
    """Return the fields of a pair's configuration that its encoder's folder decides."""
    return {
        "embedding_include_prompt": settings.include_prompt,
        "embedding_pooling": settings.embedding_pooling,
        "embedding_normalize": settings.embedding_normalize,
        "query_prompt": settings.query_prompt,
        "document_prompt": settings.document_prompt,
        "encoder_max_tokens": bases.encoder_max_tokens(settings, tokenizer, config),
    }


def _is_causal(decoder: Any) -> bool:
    """Tell whether what the model says of a token does not depend on the token after it."""
    ids = torch.tensor([[5, 6, 7], [5, 6, 8]], device=decoder.device)  # they differ at the end
    # A tiny vocabulary may not have these ids: (2, 3)
    ids %= decoder.config.get_text_config().vocab_size
    with torch.no_grad():
        # Each (3, vocab)
        first, second = decoder.eval()(input_ids=ids).logits.float()
    # How far they differ at the token before the end and at the end: (3, vocab) -> (2,)
    before, after = (first - second).norm(dim=-1)[1:].tolist()
    return before < 1e-4 * after


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
        fields: Some of `chunk_chars`, `overlap_chars`, `window_chunks`, `ratio` and `expand`, with
            their values.

    Raises:
        UserError: The pair could not compress so.
    """
    for name, value in fields.items():
        setattr(config, name, value)
        if hasattr(processor, name):
            setattr(processor, name, value)
    _check_defaults(config, processor.chunker)


def _check_defaults(config: E2LLMConfig, chunker: Chunker) -> None:
    """Raise `UserError` where a pair could not compress with its own defaults."""
    check_ratio(config.ratio)
    if check_count("window_chunks", config.window_chunks, 1, "chunk") > 1 and chunker.overlap:
        raise UserError(
            f"`window_chunks` (={config.window_chunks}) must be 1 where chunks overlap "
            f"(={chunker.overlap} characters)."
        )
    check_count("expand", config.expand, 0, "chunks")
    if not 0 <= config.seed < 2**63:
        raise UserError(f"`seed` (={config.seed}) must be at least 0 and less than 2**63.")


def join(config: E2LLMConfig, encoder: Any, decoder: Any) -> E2LLMForCausalLM:
    # The adapter's first weights follow from the pair's seed alone, and the caller's random numbers
    # go on as they were.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = E2LLMForCausalLM(config, encoder, decoder)
    embeddings = decoder.get_input_embeddings().weight
    # Quantised bases hold whole numbers, beside which the adapter is in float32.
    model.adapter.to(
        device=embeddings.device,
        dtype=embeddings.dtype if embeddings.is_floating_point() else torch.float32,
    )
    model.bases_digest = digest_weights(model, ("encoder.", "decoder."))
    return model.eval()


def revised(options: dict[str, Any], revision: str | None) -> dict[str, Any]:
    options = {name: value for name, value in options.items() if name != "revision"}
    return options | ({"revision": revision} if revision else {})


def pop_quantization(options: dict[str, Any]) -> dict[str, Any]:
    return (
        {"quantization_config": options.pop("quantization_config")}
        if "quantization_config" in options
        else {}
    )


def _absolute(name: str) -> str:
    return os.path.abspath(name) if os.path.exists(name) else name
