"""A decoder whose layers attend to an encoder's states, between self-attention and feed-forward.

h' = h + O softmax(Q norm(h) (K S)^T / sqrt(d)) V S, where S are the encoder's states (CEPE, Yen et
al. 2024, section 2.2). K and V lead from the encoder's width to the decoder's, so that no other
projection is needed, and no position is told. O is zero as it begins, so that nothing changes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_layers import GradientCheckpointingLayer

from e2llm.errors import UserError
from e2llm.methods.decoders.twin import share
from e2llm.model.operations import head_shape

# What a layer of Llama's form is made of.
_PARTS = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}


def add_cross_attention(decoder: Any, d_enc: int) -> None:
    """Replace a decoder's layers by ones with a cross-attention to states of width `d_enc`."""
    layers = _layers(decoder)
    for index, layer in enumerate(layers):
        cross = CrossAttention(decoder, d_enc).to(decoder.device, decoder.dtype)
        layers[index] = CrossAttendingLayer(layer, cross)


@contextmanager
def attending(decoder: Any, states: Tensor) -> Iterator[None]:
    """Let a decoder with cross-attention attend to an encoder's states, (n_states, d_enc).

    Where there are none, it is as it was.
    """
    memory = Memory(states) if len(states) else None
    hook = decoder.register_forward_pre_hook(
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
        config = decoder.config
        d_dec, d_query, d_key = _widths(decoder)
        _, self.head_dim = head_shape(config)
        self.norm = nn.RMSNorm(d_dec, eps=getattr(config, "rms_norm_eps", 1e-6))
        self.q_proj = nn.Linear(d_dec, d_query, bias=False)
        self.k_proj = nn.Linear(d_enc, d_key, bias=False)
        self.v_proj = nn.Linear(d_enc, d_key, bias=False)
        self.o_proj = nn.Linear(d_query, d_dec, bias=False)
        for projection in (self.q_proj, self.k_proj, self.v_proj):
            nn.init.normal_(projection.weight, std=config.initializer_range)
        nn.init.zeros_(self.o_proj.weight)

    def keys_values(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values of an encoder's states.

        Shape:
            states (n_states, d_enc) -> twice (1, kv_heads, n_states, head_dim)
        """
        return self._heads(self.k_proj(states)[None]), self._heads(self.v_proj(states)[None])

    def forward(self, hidden_states: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attend to all states."""
        # The norm is trained in float32, beside a decoder in bfloat16.
        scale = self.norm.weight.to(hidden_states)
        normed = F.rms_norm(hidden_states, self.norm.normalized_shape, scale, self.norm.eps)
        queries = self._heads(self.q_proj(normed))  # (batch, heads, seq, head_dim)
        attended = F.scaled_dot_product_attention(queries, keys, values, enable_gqa=True)
        # (batch, heads, seq, head_dim) -> (batch, seq, heads x head_dim) -> (batch, seq, d_dec)
        return self.o_proj(attended.transpose(1, 2).flatten(2))

    def _heads(self, states: Tensor) -> Tensor:
        """Split (batch, n, heads x head_dim) into (batch, heads, n, head_dim)."""
        return states.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)


class CrossAttendingLayer(GradientCheckpointingLayer):
    """A decoder's layer with a cross-attention between self-attention and feed-forward network."""

    def __init__(self, layer: Any, cross: CrossAttention | None) -> None:
        super().__init__()
        self.layer, self.cross = layer, cross

    def forward(
        self, hidden_states: Tensor, memory: Memory | None = None, **options: Any
    ) -> Tensor:
        """Run the layer on (batch, seq, d_dec); without a memory it is as it was."""
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
    named = [{name for name, _ in layer.named_children()} for layer in layers]
    if named and all(names >= _PARTS for names in named):
        # The same names may stand in another order: what a layer says decides.
        twin, ids = share(decoder), torch.arange(3, device=decoder.device)[None]  # (1, 3)
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


def cross_flops(decoder: Any, d_enc: int, n_new: int, n_states: int) -> int:
    """Count the operations of the cross-attention for `n_new` positions.

    Keys and values of the states are made once for each question.
    """
    if not n_states:
        return 0
    d_dec, d_query, d_key = _widths(decoder)
    # Two operations each of the query's and the output's projection, of scores and their sums.
    queries = n_new * (4 * d_dec * d_query + 4 * d_query * n_states)
    return (queries + 4 * n_states * d_enc * d_key) * len(_layers(decoder))


def memory_width(decoder: Any, d_enc: int) -> int:
    """Return how many numbers a state takes: its own, and the keys and values of every layer."""
    _, _, d_key = _widths(decoder)
    return d_enc + 2 * d_key * len(_layers(decoder))


def _layers(decoder: Any) -> Any:
    return getattr(decoder.base_model, "layers", nn.ModuleList())


def _widths(decoder: Any) -> tuple[int, int, int]:
    """Return the widths of a decoder's states, of all its queries, and of all its keys."""
    config = decoder.config.get_text_config()
    heads, head_dim = head_shape(config)
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    return config.hidden_size, heads * head_dim, kv_heads * head_dim
