"""CEPE (Yen et al. 2024, arXiv 2402.16617): a small encoder reads the document chunk by chunk, and
the decoder attends to its states.

A cross-attention stands in every layer of the decoder, after the self-attention and before the
feed-forward network (section 2.2): h' = h + O softmax(Q norm(h) (K S)^T / sqrt(d)) V S, where S are
the encoder's states of all chunks; K and V lead from the encoder's width to the decoder's, so that
no other projection is needed, and no position is told. O is zero as it begins. Encoder and
cross-attention are trained, the decoder is frozen. Not taken over: the authors' own small encoder
(here it is the pair's, as it was before any training with the decoder) and their warm-up on
copying.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_layers import GradientCheckpointingLayer

from e2llm.checks import check_count
from e2llm.chunking.chunker import Chunker, make_spans
from e2llm.compression.encoder_pass import BATCH_TOKENS, BATCH_TOKENS_ACCELERATOR, length_batches
from e2llm.errors import UserError
from e2llm.methods.base import AROUND, Needs, Prompt, Reading, Result, check_window
from e2llm.methods.compression.base import TrainedReading
from e2llm.methods.fitting.trainable import token_nats
from e2llm.methods.position.twin import share
from e2llm.model import bases
from e2llm.model.operations import (
    decoder_bytes,
    decoder_flops,
    head_shape,
    linear_weights,
    writing_flops,
)
from e2llm.reading.prompt import Passage

_PARTS = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}


@dataclass(frozen=True)
class _Kept:
    """The end of a document as text, and the encoder's states of what stands before it, (n_states,
    d_enc).
    """

    tail: list[Passage]
    states: Tensor


@dataclass
class Cepe(TrainedReading):
    """Read the end of the document as text, and attend to the encoder's states of what stands
    before it; nothing limits the length.

    Attributes:
        text_tokens: Tokens at the document's end that stand as text (the authors' chat model:
            2,048); at most half of the decoder's window.
        chunk_chars: Longest chunk that the encoder reads (1,024, which is about the authors' 256
            tokens); in pieces where it reads less at a time.
    """

    text_tokens: int = 2048
    chunk_chars: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("text_tokens", self.text_tokens, 1)
        check_count("chunk_chars", self.chunk_chars, 1, "character")
        check_decoder(self.pair.base.decoder)

    def build(self) -> "CepeModel":
        """Put the cross-attention into the pair's decoder, beside the pair's encoder."""
        config, own = self.pair.config, self.pair.base.encoder
        encoder = bases.load_encoder(
            str(config.encoder_name), revision=config.encoder_revision, dtype=own.dtype
        ).to(own.device)
        if getattr(encoder, "pooler", None) is not None:
            encoder.pooler = None  # no state passes through it
        return CepeModel(encoder, self.base_decoder())

    @property
    def chunker(self) -> Chunker:
        """What cuts the encoder's chunks."""
        return Chunker(self.chunk_chars)

    @property
    def window(self) -> None:
        """Nothing limits the document's length; the decoder's window must hold its end, the
        question and the answer.
        """
        return None

    def look(self, text: str) -> _Kept:
        """Encode the document up to its end."""
        head, tail = self._split(text, self._n_text)
        return _Kept(tail, self._states(head))

    def prompt(self, kept: Any, question: str, max_new_tokens: int) -> Prompt:
        """Return the document's end with the question after it."""
        prompt = self.text_prompt(kept.tail, question, max_new_tokens)
        check_window(len(prompt.ids) + max_new_tokens, self.pair.config.decoder_window)
        return prompt

    def positions(self, n_tokens: int) -> int:
        """Return the tokens of the document's end."""
        return min(n_tokens, self._n_text)

    def read(self, text: str) -> Reading:
        """Encode the document, once, and count what that takes."""
        reading = super().read(text)
        n_tail = sum(len(part.text) for part in reading.kept.tail)
        return replace(reading, flops=self.encoding_flops(text[: len(text) - n_tail]))

    def answer(self, reading: Reading, question: str, max_new_tokens: int) -> Result:
        """Answer a question greedily."""
        with self.model.attending(reading.kept.states):
            result = super().answer(reading, question, max_new_tokens)
        n_states, n_before, steps = (
            len(reading.kept.states),
            result.n_reused,
            max(0, result.n_answer_tokens - 1),
        )
        flops = decoder_flops(self._plain, result.positions - n_before, n_before)
        flops += writing_flops(self._plain, result.positions, result.n_answer_tokens)
        return replace(
            result, flops=flops + self._cross_flops(result.positions - n_before + steps, n_states)
        )

    def logits(self, kept: Any, question: str, ids: list[int]) -> Tensor:
        """Return what the decoder says of each token of an answer before it reads it,
        (n_answer_tokens, vocab).
        """
        with self.model.attending(kept.states):
            return super().logits(kept, question, ids)

    @property
    def text_share(self) -> float:
        """Half of the training (ours; the authors train on texts alone, 10 billion tokens)."""
        return 0.5

    def text_nats(self, text: str) -> Tensor:
        """Return the negative log-likelihood of the tokens at a text's end, but the first, beside
        the encoder's states of what stands before it.
        """
        head, tail = self._split(
            text, max(2, min(self._n_text, len(self.pair.processor.text_ids(text)) // 2))
        )
        ids = self.pair.processor.text_ids(tail[0].text)
        with self.model.attending(self._states(head)):
            logits = self.decoder(
                input_ids=torch.tensor([ids[:-1]], device=self.decoder.device), use_cache=False
            ).logits[0]
        return token_nats(logits, ids[1:])

    def needs(self, n_tokens: int, max_new_tokens: int) -> list[Needs]:
        """Predict time, and memory for the encoder's states, which grow with the document."""
        positions = self.positions(n_tokens) + AROUND
        check_window(positions + max_new_tokens, self.pair.config.decoder_window)
        # As if the encoder's tokenizer cut as the decoder's does.
        n_states = max(0, n_tokens - self._n_text)
        encoder, plain = self.pair.base.encoder, self._plain
        width = _width(encoder) + 2 * _key_width(plain) * len(_layers(plain))
        n_bytes = decoder_bytes(plain, positions + max_new_tokens)
        n_bytes += n_states * encoder.dtype.itemsize * width
        flops = 2 * n_states * linear_weights(encoder) + decoder_flops(plain, positions)
        flops += self._cross_flops(positions, n_states)
        return [Needs(n_bytes, flops, max_new_tokens)]

    def _states(self, text: str) -> Tensor:
        rows = self.pair.processor.encoder_rows(text, make_spans(text, self.chunker))
        return self.model.encode([(row.input_ids, row.chunk_ids >= 0) for row in rows])

    @property
    def _n_text(self) -> int:
        window = self.pair.config.decoder_window
        return self.text_tokens if window is None else min(self.text_tokens, window // 2)

    @property
    def _plain(self) -> Any:
        """The pair's decoder, whose sizes are those of the decoder without cross-attention."""
        return self.pair.base.decoder

    def _cross_flops(self, n_new: int, n_states: int) -> int:
        """Count the operations of the cross-attention for `n_new` positions; keys and values of the
        states are made once for each question.
        """
        if not n_states:
            return 0
        d_dec, query, key = _width(self._plain), _query_width(self._plain), _key_width(self._plain)
        per_layer = (
            n_new * (4 * d_dec * query + 4 * query * n_states)
            + 4 * n_states * _width(self.pair.base.encoder) * key
        )
        return per_layer * len(_layers(self._plain))


class CepeModel(nn.Module):
    """An encoder, and a decoder whose layers attend to its states.

    Args:
        encoder: Text encoder; trained.
        decoder: A frozen decoder, whose layers are replaced by ones with a cross-attention.
    """

    def __init__(self, encoder: Any, decoder: Any) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        layers = _layers(decoder)
        for index, layer in enumerate(layers):
            layers[index] = CrossAttendingLayer(
                layer, CrossAttention(decoder, _width(encoder)).to(decoder.device, decoder.dtype)
            )

    def encode(self, rows: list[tuple[list[int], Any]]) -> Tensor:
        """Return the encoder's states of all rows, one after the other, (n_states, d_enc).

        Args:
            rows: Token ids of each, and which of them are the text's own.
        """
        device = self.encoder.device
        states: dict[int, Tensor] = {}
        for batch in length_batches(
            [len(ids) for ids, _ in rows], BATCH_TOKENS.get(device.type, BATCH_TOKENS_ACCELERATOR)
        ):
            tensors = [torch.tensor(rows[row][0], device=device) for row in batch]
            padded = nn.utils.rnn.pad_sequence(tensors, batch_first=True)
            mask = nn.utils.rnn.pad_sequence(
                [torch.ones_like(ids) for ids in tensors], batch_first=True
            )
            encoded = self.encoder(input_ids=padded, attention_mask=mask).last_hidden_state
            for place, row in enumerate(batch):
                states[row] = encoded[place, : len(rows[row][0])][
                    torch.from_numpy(rows[row][1]).to(device)
                ]
        return (
            torch.cat([states[row] for row in range(len(rows))])
            if rows
            else torch.zeros(0, _width(self.encoder), device=device)
        )

    @contextmanager
    def attending(self, states: Tensor) -> Iterator[None]:
        """Let the decoder attend to an encoder's states, (n_states, d_enc); where there are none,
        it is as it was.
        """
        memory = Memory(states) if len(states) else None
        hook = self.decoder.register_forward_pre_hook(
            lambda _, given, options: (given, options | {"memory": memory}), with_kwargs=True
        )
        try:
            yield
        finally:
            hook.remove()


class Memory:
    """What all layers attend to; each layer's keys and values are kept while nothing is trained.

    Args:
        states: The encoder's, (n_states, d_enc).
    """

    def __init__(self, states: Tensor) -> None:
        self.states = states
        self._kept: dict[CrossAttention, tuple[Tensor, Tensor]] = {}

    def of(self, cross: "CrossAttention") -> tuple[Tensor, Tensor]:
        """Return a cross-attention's keys and values, each (1, kv_heads, n_states, head_dim)."""
        if torch.is_grad_enabled():
            return cross.keys_values(self.states)
        if cross not in self._kept:
            self._kept[cross] = cross.keys_values(self.states)
        return self._kept[cross]


class CrossAttention(nn.Module):
    """Attend to an encoder's states with as many heads as the decoder's own attention has.

    Args:
        decoder: The decoder, for its sizes.
        d_enc: Width of the states.

    Shape:
        hidden states (batch, seq, d_dec) -> (batch, seq, d_dec)
    """

    def __init__(self, decoder: Any, d_enc: int) -> None:
        super().__init__()
        config, d_dec = decoder.config, _width(decoder)
        _, self.head_dim = head_shape(config)
        self.norm = nn.RMSNorm(d_dec, eps=getattr(config, "rms_norm_eps", 1e-6))
        self.q_proj = nn.Linear(d_dec, _query_width(decoder), bias=False)
        self.k_proj = nn.Linear(d_enc, _key_width(decoder), bias=False)
        self.v_proj = nn.Linear(d_enc, _key_width(decoder), bias=False)
        self.o_proj = nn.Linear(_query_width(decoder), d_dec, bias=False)
        for projection in (self.q_proj, self.k_proj, self.v_proj):
            nn.init.normal_(projection.weight, std=config.initializer_range)
        nn.init.zeros_(self.o_proj.weight)

    def keys_values(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values of an encoder's states (n_states, d_enc), each (1, kv_heads,
        n_states, head_dim).
        """
        return self._heads(self.k_proj(states)[None]), self._heads(self.v_proj(states)[None])

    def forward(self, hidden_states: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attend to all states."""
        scale = self.norm.weight.to(
            hidden_states
        )  # which is trained in float32 beside a decoder in bfloat16
        queries = self._heads(
            self.q_proj(F.rms_norm(hidden_states, self.norm.normalized_shape, scale, self.norm.eps))
        )
        attended = F.scaled_dot_product_attention(queries, keys, values, enable_gqa=True)
        return self.o_proj(attended.transpose(1, 2).flatten(2))

    def _heads(self, states: Tensor) -> Tensor:
        return states.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)


class CrossAttendingLayer(GradientCheckpointingLayer):
    """A decoder's layer with a cross-attention between its self-attention and its feed-forward
    network.
    """

    def __init__(self, layer: Any, cross: CrossAttention | None) -> None:
        super().__init__()
        self.layer, self.cross = layer, cross

    def forward(
        self, hidden_states: Tensor, memory: Memory | None = None, **options: Any
    ) -> Tensor:
        """Run the layer; without a memory it is as it was."""
        attended, _ = self.layer.self_attn(
            hidden_states=self.layer.input_layernorm(hidden_states), **options
        )
        hidden_states = hidden_states + attended
        if self.cross is not None and memory is not None:
            hidden_states = hidden_states + self.cross(hidden_states, *memory.of(self.cross))
        return hidden_states + self.layer.mlp(self.layer.post_attention_layernorm(hidden_states))


def check_decoder(decoder: Any) -> None:
    """Check that a decoder's layers can take a cross-attention.

    Raises:
        UserError: They are not built as Llama's are.
    """
    layers = _layers(decoder)
    if len(layers) and all(
        {name for name, _ in layer.named_children()} >= _PARTS for layer in layers
    ):
        twin, ids = share(decoder), torch.arange(3, device=decoder.device)[None]
        twin_layers = _layers(twin)
        for index, layer in enumerate(twin_layers):
            twin_layers[index] = CrossAttendingLayer(layer, None)
        with torch.inference_mode():
            if torch.equal(twin(input_ids=ids).logits, decoder(input_ids=ids).logits):
                return
    raise UserError(
        f"the decoder ({decoder.config.model_type}) has other layers than Llama's "
        "(self-attention, then feed-forward, each after one norm), between which cepe puts "
        "its cross-attention; use a pair with a Llama, SmolLM, Mistral or Qwen decoder."
    )


def _layers(decoder: Any) -> Any:
    return getattr(decoder.base_model, "layers", nn.ModuleList())


def _width(model: Any) -> int:
    return model.config.get_text_config().hidden_size


def _query_width(decoder: Any) -> int:
    heads, head_dim = head_shape(decoder.config.get_text_config())
    return heads * head_dim


def _key_width(decoder: Any) -> int:
    heads, head_dim = head_shape(decoder.config.get_text_config())
    return (
        getattr(decoder.config.get_text_config(), "num_key_value_heads", None) or heads
    ) * head_dim
