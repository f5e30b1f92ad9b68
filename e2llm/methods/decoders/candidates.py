"""A decoder with added projections, by which a chunk's candidate is made (FocusLLM, section 3).

A candidate is one token's keys and values after a chunk: what the decoder would say next of the
chunk, in one position.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache

from e2llm.errors import E2LLMError, UserError
from e2llm.methods.decoders.lambda_attention import check_decoder as check_positions
from e2llm.methods.decoders.rotary import rotary, turn_by, turned
from e2llm.model.versions import cache_argument

_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")


class CandidateDecoder(nn.Module):
    """A decoder with added projections, by which candidates are made.

    Args:
        decoder: The frozen decoder; its projections are replaced by pairs of its own and an added
            one.
    """

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.decoder = decoder
        decoder.set_attn_implementation("sdpa")  # which takes masks of any form
        # Layers that are computed again keep no keys and values, which are all that is wanted here.
        decoder.supports_gradient_checkpointing = False
        *others, last = decoder.base_model.layers
        for layer in [*others, last]:
            # No layer reads what the last one's other projections lead to.
            for name in ("k_proj", "v_proj") if layer is last else _PROJECTIONS:
                own = getattr(layer.self_attn, name)
                setattr(layer.self_attn, name, CandidateProjection(own))

    def read(self, ids: list[int], cache: Cache | None = None, **options: Any) -> Cache:
        """Read token ids after what a cache holds, and return the cache with them.

        Without a cache, it is a new one.
        """
        cache = DynamicCache(config=self.decoder.config) if cache is None else cache
        inputs = torch.tensor([ids], device=self.decoder.device)  # (1, seq)
        self.decoder.base_model(
            input_ids=inputs, use_cache=True, **options, **{cache_argument(): cache}
        )
        return cache

    def candidates(self, chunks: list[Cache], ids: list[int], places: list[int]) -> list[Cache]:
        """Read token ids after every chunk; return a cache of candidates for each of `places`.

        Args:
            chunks: The chunks' caches, which are left with the ids before the last place.
            ids: What is read after every chunk.
            places: Which of the ids, in order, are candidates; each sees its chunk and the ids
                before it.

        Returns:
            For each place a cache with all chunks' candidates, (1, kv_heads, n_chunks, head_dim) in
            every layer.
        """
        found = [self._after(chunk, ids, places, order) for order, chunk in enumerate(chunks)]
        caches = [DynamicCache(config=self.decoder.config) for _ in places]
        for index, layer in enumerate(zip(*found, strict=True)):
            # (1, kv_heads, n_chunks x n_places, head_dim), chunk by chunk
            keys, values = (torch.cat(parts, dim=2) for parts in zip(*layer, strict=True))
            for place, cache in enumerate(caches):
                # The candidates of all chunks for this place, (1, kv_heads, n_chunks, head_dim)
                own = slice(place, None, len(places))
                cache.update(keys[:, :, own], values[:, :, own], index)
        return caches

    def say(self, ids: list[int], cache: Cache, n_logits: int) -> Tensor:
        """Read token ids after a cache; return the last `n_logits` logits, (n_logits, vocab)."""
        inputs = torch.tensor([ids], device=self.decoder.device)  # (1, seq)
        output = self.decoder(
            input_ids=inputs, use_cache=True, logits_to_keep=n_logits, **{cache_argument(): cache}
        )
        return output.logits[0]

    def _after(
        self, chunk: Cache, ids: list[int], places: list[int], order: int
    ) -> list[tuple[Tensor, Tensor]]:
        """Return each layer's keys and values of one chunk's candidates, turned to `order`.

        Each is (1, kv_heads, n_places, head_dim).
        """
        n_before, n_read, n_places = chunk.get_seq_length(), places[-1], len(places)
        # (n_read + n_places,)
        positions = torch.tensor([*range(n_read), *places], device=self.decoder.device)
        with self._making(n_places):
            self.read(
                ids[:n_read] + [ids[place] for place in places],
                chunk,
                attention_mask=self._visible(n_before, positions, n_places)[None, None],
                position_ids=(n_before + positions)[None],  # (1, n_read + n_places)
            )
        # From where it was read to its place before the local context, each (n_places, rotary_dim)
        turn = turn_by(order - n_before - positions[n_read:], rotary(self.decoder).inv_freq)
        found = [
            (turned(layer.keys[:, :, -n_places:], turn), layer.values[:, :, -n_places:])
            for layer in chunk.layers
        ]
        # The candidates leave the chunk's cache, and what was read before them stays there.
        for layer in chunk.layers:
            layer.keys, layer.values = layer.keys[:, :, :-n_places], layer.values[:, :, :-n_places]
        return found

    def _visible(self, n_before: int, positions: Tensor, n_places: int) -> Tensor:
        """Return which keys are seen, (n_read + n_places, n_before + n_read + n_places).

        Args:
            n_before: Tokens of the chunk.
            positions: Of what is read and of the candidates after it, (n_read + n_places,).
            n_places: How many candidates.
        """
        n_new, device = len(positions), positions.device
        n_read = n_new - n_places
        read = torch.arange(n_read, device=device)  # (n_read,)
        # What is read sees itself and all before; a candidate, which stands in the place of a token
        # that is read, sees all before and itself.
        ordinary = torch.arange(n_new, device=device) < n_read  # (n_read + n_places,)
        visible = torch.zeros(n_new, n_before + n_new, dtype=torch.bool, device=device)
        visible[:, :n_before] = True
        visible[:, n_before : n_before + n_read] = read < (positions + ordinary)[:, None]
        visible[n_read:, n_before + n_read :] = torch.eye(n_places, dtype=torch.bool)
        return visible

    @contextmanager
    def _making(self, n_candidates: int) -> Iterator[None]:
        """Let the last positions pass the added projections."""
        added = [
            module for module in self.decoder.modules() if isinstance(module, CandidateProjection)
        ]
        try:
            for module in added:
                module.n_candidates = n_candidates
            yield
        finally:
            for module in added:
                module.n_candidates = 0


class CandidateProjection(nn.Module):
    """A projection of the decoder beside an added one, which alone is trained.

    The added one begins as a copy.

    Attributes:
        n_candidates: How many positions at the end pass the added one.

    Shape:
        (batch, seq, d_in) -> (batch, seq, d_out)
    """

    def __init__(self, own: nn.Module) -> None:
        super().__init__()
        self.own, self.added = own, copy.deepcopy(own).requires_grad_(True)
        self.n_candidates = 0

    def forward(self, states: Tensor) -> Tensor:
        """Project all states."""
        if not self.n_candidates:
            return self.own(states)
        n_own = states.shape[1] - self.n_candidates
        # (batch, n_own, d_out) and (batch, n_candidates, d_out), one after the other
        return torch.cat([self.own(states[:, :n_own]), self.added(states[:, n_own:])], dim=1)


def check_decoder(decoder: Any) -> None:
    """Check that candidates can be made with a decoder.

    Raises:
        UserError: Its attention has other projections than Llama's, or other positions.
    """
    layers = getattr(decoder.base_model, "layers", [])
    own = [getattr(layer, "self_attn", None) for layer in layers]
    if not own or not all(hasattr(part, name) for part in own for name in _PROJECTIONS):
        raise UserError(
            f"the decoder ({decoder.config.model_type}) has other layers than Llama's "
            f"(`self_attn` with {', '.join(_PROJECTIONS)}), beside which focusllm puts its "
            "own; use a pair with a Llama, SmolLM, Mistral or Qwen decoder."
        )
    try:
        check_positions(decoder)
    except E2LLMError as error:
        raise UserError(f"focusllm: {error}") from error
