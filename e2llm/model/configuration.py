"""The configuration of an encoder-adapter-decoder pair: data, no torch."""

from typing import Any

from transformers import AutoConfig, PreTrainedConfig


class E2LLMConfig(PreTrainedConfig):
    """Describe a pair: its two pretrained models, its adapter, and its defaults.

    Attributes:
        encoder_config: Configuration of the text encoder.
        text_config: Configuration of the decoder (the name under which transformers looks for it).
        encoder_name, decoder_name: Where the base weights come from: a folder, a hub name, or
            `package:MODULE/PATH` for weights inside an installed package. Set, they make
            `save_pretrained` store the trained parts alone.
        encoder_revision, decoder_revision: Hub revisions of the two, or None.
        encoder_layers: Which hidden states of the encoder the adapter reads, side by side: 0 is the
            encoder's input embeddings, -1 its last layer, which must come last; None for the last
            layer alone, as the paper has it.
        adapter: Registered adapter: "linear", "mlp" (paper v1), "vpma" (EMNLP version) or
            "residual".
        pooling: Registered pooling: "mean", "cls", "attention" or "tokens".
        adapter_heads: Attention heads of "vpma" (the paper finds 4 best).
        soft_token_norm: Mean norm of the decoder's input embeddings; soft tokens are scaled to it.
        embedding_pooling: How the encoder's sentence embedding is pooled: "mean", "cls", "max" or
            "lasttoken".
        embedding_normalize: Whether the sentence embedding is divided by its norm.
        embedding_include_prompt: Whether the prompt's tokens count for the sentence embedding.
        query_prompt, document_prompt: Text that the encoder expects before a question and before a
            chunk.
        encoder_max_tokens: Longest input of the encoder, special tokens included; a longer chunk is
            read in pieces.
        chunk_chars, overlap_chars: Defaults of the chunker, in characters (the paper: 512 and 0).
        window_chunks: Chunks encoded together (late chunking); 1 encodes each alone, as the paper
            does.
        ratio: Default text tokens per soft token, or "chunk" for one soft token per chunk, as the
            paper has it.
        expand: Default number of chunks expanded (read as text beside the soft tokens); 0 is the
            paper.
        budget: Default decoder positions of a prompt; a plan decides what stands in them.
        found: How `reading.found` weighs what speaks for an answer in the documents, for this
            encoder; None for a pair that never refuses a question.
        trained: Whether the adapter has been trained; an untrained one says so when it is asked.
        seed: Seed of the adapter's first weights.
    """

    model_type = "e2llm"
    # The library's own form.
    sub_configs = {"encoder_config": AutoConfig, "text_config": AutoConfig}  # noqa: RUF012

    encoder_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    encoder_name: str | None = None
    encoder_revision: str | None = None
    decoder_name: str | None = None
    decoder_revision: str | None = None
    encoder_layers: list[int] | None = None
    adapter: str = "mlp"
    pooling: str = "mean"
    adapter_heads: int = 4
    soft_token_norm: float = 1.0
    embedding_pooling: str = "mean"
    embedding_normalize: bool = True
    embedding_include_prompt: bool = True
    query_prompt: str = ""
    document_prompt: str = ""
    encoder_max_tokens: int = 512
    chunk_chars: int = 512
    overlap_chars: int = 0
    window_chunks: int = 1
    ratio: float | int | str = 8
    expand: int = 4
    budget: int = 1024
    found: dict[str, Any] | None = None
    trained: bool = False
    seed: int = 0
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        for name in self.sub_configs:
            value = getattr(self, name)
            if isinstance(value, dict):
                value = AutoConfig.for_model(**value)
            elif value is None:
                value = AutoConfig.for_model("bert" if name == "encoder_config" else "llama")
            setattr(self, name, value)
        # The library resets the attention of every sub-configuration, also of one that a model
        # built before already uses.
        attentions = {name: getattr(self, name)._attn_implementation for name in self.sub_configs}
        super().__post_init__(**kwargs)
        for name, attention in attentions.items():
            if attention is not None:
                getattr(self, name)._attn_implementation = attention
        # Each half ties its own head; the pair has none.
        self.tie_word_embeddings = False

    @property
    def placeholder_id(self) -> int:
        """Token id of a soft token in `input_ids`: out of vocabulary, so no text can produce it."""
        return int(self._decoder.vocab_size)

    @property
    def has_bases(self) -> bool:
        """Whether both bases are known by name; a checkpoint then need not hold their weights."""
        return self.encoder_name is not None and self.decoder_name is not None

    @property
    def decoder_window(self) -> int | None:
        """Positions that the decoder reads, or None where its configuration sets no limit."""
        return getattr(self._decoder, "max_position_embeddings", None)

    @property
    def _decoder(self) -> Any:
        return self.text_config.get_text_config()  # type: ignore[union-attr]
