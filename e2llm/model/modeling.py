"""The encoder-adapter-decoder model, native to transformers (paper section 3.1, figure 2).

The encoder reads each chunk, the adapter turns its token states into soft tokens, and the decoder,
held whole with its own head, reads them in the place of the placeholders in `input_ids`.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForCausalLM, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from e2llm.checks import check_choice
from e2llm.errors import UserError
from e2llm.model import bases
from e2llm.model.adapters import ADAPTERS, Adapter
from e2llm.model.configuration import E2LLMConfig
from e2llm.model.digest import digest_weights
from e2llm.model.pooling import POOLINGS, Pooling

CHUNK_INPUTS = (
    "chunk_input_ids",
    "chunk_attention_mask",
    "chunk_soft_ids",
    "soft_tokens",
    "soft_mask",
)


class E2LLMForCausalLM(PreTrainedModel, GenerationMixin):
    """A text encoder, an adapter and a decoder-only LLM as one causal language model.

    Saving stores the configuration and the adapter while both bases are known by name
    (`config.has_bases`), and everything otherwise; `from_pretrained` reads both forms, and merges
    the LoRA that lies in the folder `lora` beside the first.

    Example:
        >>> from transformers import BertConfig, LlamaConfig
        >>> small = {"hidden_size": 32, "intermediate_size": 64, "vocab_size": 100}
        >>> small |= {"num_hidden_layers": 1, "num_attention_heads": 4}
        >>> encoder, decoder = BertConfig(**small), LlamaConfig(**small, num_key_value_heads=2)
        >>> model = E2LLMForCausalLM(E2LLMConfig(encoder_config=encoder, text_config=decoder))
        >>> model(input_ids=torch.tensor([[1, 2, 3]])).logits.shape
        torch.Size([1, 3, 100])
    """

    config_class = E2LLMConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    input_modalities = ("text",)
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    # Loads a checkpoint that names its bases; handed in by the package.
    load_light: ClassVar[Callable[..., Any]]

    def __init__(
        self,
        config: E2LLMConfig,
        encoder: PreTrainedModel | None = None,
        decoder: PreTrainedModel | None = None,
    ) -> None:
        super().__init__(config)
        self.encoder = encoder or AutoModel.from_config(config.encoder_config)
        self.decoder = decoder or AutoModelForCausalLM.from_config(config.text_config)
        if getattr(self.encoder, "pooler", None) is not None:
            # No chunk state passes through it, and checkpoints without one get random weights for
            # it at every loading.
            self.encoder.pooler = None
        # One object each, so that what is set on the pair's configuration is seen by its parts.
        config.encoder_config, config.text_config = self.encoder.config, self.decoder.config
        d_enc = self.encoder.config.get_text_config().hidden_size
        d_enc *= len(config.encoder_layers or [-1])
        pooling = POOLINGS[check_choice("pooling", config.pooling, list(POOLINGS))](d_enc)
        adapter = ADAPTERS[check_choice("adapter", config.adapter, list(ADAPTERS))]
        self.adapter = adapter(
            pooling, d_enc, self.d_dec, config.soft_token_norm, config.adapter_heads
        )
        self.generation_config = self.decoder.generation_config
        self.bases_digest: str | None = None  # of the named bases as they were loaded
        # Set while the pair trains with a frozen encoder, whose states never change.
        self.remembered_states: Callable[..., Tensor] | None = None
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (Adapter, Pooling)):
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()  # type: ignore[operator]
        else:
            super()._init_weights(module)

    @property
    def d_dec(self) -> int:
        """Width of the decoder's input embeddings."""
        return int(self.get_input_embeddings().weight.shape[-1])  # type: ignore[index]

    def get_input_embeddings(self) -> nn.Module:
        """Return the decoder's input embeddings."""
        return self.decoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the decoder's input embeddings."""
        self.decoder.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module | None:
        """Return the decoder's head."""
        return self.decoder.get_output_embeddings()

    def encode(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Run the encoder on chunks.

        Shape:
            input_ids, attention_mask (n_rows, chunk_len) -> chunk states (n_rows, chunk_len,
            d_enc), d_enc for each of `config.encoder_layers` side by side, the last layer's last
        """
        inputs = input_ids.to(self.encoder.device), attention_mask.to(self.encoder.device)
        if self.remembered_states is not None:
            return self.remembered_states(self._encode, *inputs)
        return self._encode(*inputs)

    def _encode(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        layers = self.config.encoder_layers
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if not layers:
            return self.encoder(**inputs).last_hidden_state
        hidden = self.encoder(**inputs, output_hidden_states=True).hidden_states
        # n_layers of (n_rows, chunk_len, d) -> (n_rows, chunk_len, d_enc = n_layers * d)
        return torch.cat([hidden[layer] for layer in layers], -1)

    def compress(
        self, chunk_input_ids: Tensor, chunk_attention_mask: Tensor, chunk_soft_ids: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Encode a batch of documents and turn their chunk states into soft tokens.

        Args:
            chunk_input_ids: (batch, n_chunks, chunk_len) encoder token ids.
            chunk_attention_mask: (batch, n_chunks, chunk_len), 0 on padding; a padding chunk is 0
                throughout.
            chunk_soft_ids: (batch, n_chunks, chunk_len) index, within its document, of the soft
                token that each token feeds; -1 for none.

        Returns:
            Soft tokens (batch, n_soft, d_dec), padded with zeros at the end, and their mask (batch,
            n_soft).
        """
        batch = chunk_input_ids.shape[0]
        counts = (chunk_soft_ids.flatten(1).amax(1) + 1).clamp(min=0)  # (batch,): n_soft of each
        # Numbered through the batch, so that one pass of the adapter makes them all.
        offsets = (counts.cumsum(0) - counts)[:, None, None]  # (batch, 1, 1)
        soft_ids = torch.where(chunk_soft_ids >= 0, chunk_soft_ids + offsets, -1)
        real = chunk_attention_mask.any(-1)  # (batch, n_chunks): what is no padding
        # (batch, n_chunks, chunk_len) -> (n_rows, chunk_len, d_enc)
        states = self.encode(chunk_input_ids[real], chunk_attention_mask[real])
        # -> (sum of n_soft, d_dec), the soft tokens of all documents one after the other
        soft = self.adapter(states.flatten(0, 1), soft_ids[real].flatten(), int(counts.sum()))
        places = torch.arange(int(counts.max()) if batch else 0, device=counts.device)
        mask = places < counts[:, None]  # (batch, n_soft)
        padded = soft.new_zeros(*mask.shape, soft.shape[-1])  # (batch, n_soft, d_dec)
        padded[mask] = soft
        return padded, mask

    def embed(
        self, input_ids: Tensor, soft_tokens: Tensor | None = None, soft_mask: Tensor | None = None
    ) -> Tensor:
        """Look up the decoder's input embeddings, with soft tokens for the placeholders.

        Shape:
            input_ids (batch, seq), soft_tokens (batch, n_soft, d_dec), soft_mask (batch, n_soft) ->
            (batch, seq, d_dec)

        Raises:
            UserError: A row of the batch has more or fewer placeholders than soft tokens.
        """
        placeholders = input_ids == self.config.placeholder_id  # (batch, seq)
        # The placeholder is out of vocabulary, so it is masked before the look-up.
        embeddings = self.get_input_embeddings()(input_ids.masked_fill(placeholders, 0))
        n_wanted = placeholders.sum(1)  # (batch,)
        n_given = torch.zeros_like(n_wanted)
        if soft_tokens is not None:
            if soft_mask is None:
                soft_mask = soft_tokens.new_ones(soft_tokens.shape[:2], dtype=torch.bool)
            soft_mask = soft_mask.bool()
            n_given = soft_mask.sum(1)  # (batch,)
        # `masked_scatter` drops surplus rows in silence, so the counts are checked first.
        if not torch.equal(n_wanted, n_given.to(n_wanted.device)):
            raise UserError(
                f"`input_ids` holds {n_wanted.tolist()} placeholders per row (id "
                f"{self.config.placeholder_id}) for {n_given.tolist()} soft tokens; the two must "
                "be equal: build both with the processor."
            )
        if soft_tokens is None:
            return embeddings
        if placeholders.any():
            soft = soft_tokens[soft_mask].to(embeddings)  # (sum of n_soft, d_dec)
            return embeddings.masked_scatter(placeholders.unsqueeze(-1), soft)
        if soft_tokens.requires_grad:
            # Several processes that train together must have the same graph, also where a batch
            # has no chunk.
            return embeddings + soft_tokens.sum().to(embeddings) * 0
        return embeddings

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        chunk_input_ids: Tensor | None = None,
        chunk_attention_mask: Tensor | None = None,
        chunk_soft_ids: Tensor | None = None,
        soft_tokens: Tensor | None = None,
        soft_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Run the decoder on text and soft tokens; with `labels`, the loss is the decoder's own.

        Args:
            input_ids: (batch, seq) with `config.placeholder_id` where a soft token stands.
            attention_mask: (batch, seq).
            position_ids: (batch, seq); named here because `generate` makes them for models that
                name them.
            inputs_embeds: (batch, seq, d_dec), in place of `input_ids` and of every chunk input.
            chunk_input_ids, chunk_attention_mask, chunk_soft_ids: Documents to compress, as in
                `compress`.
            soft_tokens, soft_mask: (batch, n_soft, d_dec) and (batch, n_soft), compressed before,
                in place of the chunk inputs.
            labels: (batch, seq), -100 where no loss is taken.
        """
        if inputs_embeds is None:
            if input_ids is None:
                raise UserError("`input_ids` or `inputs_embeds` must be given.")
            chunks = (chunk_input_ids, chunk_attention_mask, chunk_soft_ids)
            if all(given is not None for given in chunks):
                soft_tokens, soft_mask = self.compress(*chunks)  # type: ignore[arg-type]
            inputs_embeds = self.embed(input_ids, soft_tokens, soft_mask)  # (batch, seq, d_dec)
        optional = {"labels": labels, "position_ids": position_ids}
        kwargs |= {name: value for name, value in optional.items() if value is not None}
        return self.decoder(inputs_embeds=inputs_embeds, attention_mask=attention_mask, **kwargs)

    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        is_first_iteration: bool = False,
        inputs_embeds: Tensor | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Give the chunk inputs to the first step; later ones find the soft tokens in the cache."""
        inputs = super().prepare_inputs_for_generation(
            input_ids, is_first_iteration=is_first_iteration, inputs_embeds=inputs_embeds, **kwargs
        )
        if not is_first_iteration and kwargs.get("use_cache", True):
            inputs = {name: value for name, value in inputs.items() if name not in CHUNK_INPUTS}
        return inputs

    @torch.no_grad()
    def generate(self, inputs: Tensor | None = None, **kwargs: Any) -> Any:
        """Generate as any transformers model does.

        The documents are compressed once, before beams or sequences multiply.
        """
        if kwargs.get("chunk_input_ids") is not None:
            chunk_inputs = {name: kwargs.pop(name) for name in CHUNK_INPUTS[:3]}
            kwargs["soft_tokens"], kwargs["soft_mask"] = self.compress(**chunk_inputs)
        return super().generate(inputs, **kwargs)

    def holds_bases(self, lora: bool = True) -> bool:
        """Tell whether encoder and decoder are still those that the configuration names.

        They are not where they were fine-tuned, or LoRA was merged into them.

        Args:
            lora: Whether LoRA that PEFT holds beside the weights counts as a change.
        """
        if not self.config.has_bases:
            return False
        return self.bases_digest == digest_weights(self, ("encoder.", "decoder."), lora)

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Save the configuration and the adapter.

        Every weight is saved where the bases have no name or have changed, or with `full=True`.
        """
        full = kwargs.pop("full", False) or not self.holds_bases()
        if full:
            names = self.config.encoder_name, self.config.decoder_name
            self.config.encoder_name = self.config.decoder_name = None
            try:
                super().save_pretrained(save_directory, **kwargs)
            finally:
                self.config.encoder_name, self.config.decoder_name = names
            return
        state = kwargs.pop("state_dict", None)
        state = self.state_dict() if state is None else state
        own = {name: tensor for name, tensor in state.items() if name.startswith("adapter.")}
        super().save_pretrained(save_directory, state_dict=own, **kwargs)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any
    ) -> "E2LLMForCausalLM":
        """Load a checkpoint: a full one, or the trained parts beside two bases known by name.

        Keyword arguments are those of transformers (`dtype`, `device_map`, `quantization_config`,
        `token`, ...); for a checkpoint that names its bases they are passed on to both,
        `quantization_config` to the decoder alone.
        """
        hub = bases.hub_options(kwargs)
        config = kwargs.pop("config", None)
        if not isinstance(config, E2LLMConfig):
            config = E2LLMConfig.from_pretrained(pretrained_model_name_or_path, **hub)
        if not config.has_bases:
            return super().from_pretrained(
                pretrained_model_name_or_path, *args, config=config, **kwargs
            )
        return cls.load_light(pretrained_model_name_or_path, config, **kwargs)


@contextmanager
def evaluating(model: E2LLMForCausalLM) -> Iterator[None]:
    """Switch dropout off, and back on where it was.

    With it no two readings would have the same soft tokens or answers.
    """
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
