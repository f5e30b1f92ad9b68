"""FocusLLM (Li et al. 2024, arXiv 2408.11745): the decoder reads every chunk for itself, and what
it would say next of each is put together.

The document is cut into chunks, and its end stands as text before the question: the local context.
The end of the local context is read after every chunk, all chunks apart (section 3), its last token
by added projections (q, k, v, o of every layer; copies of the decoder's own as they begin, and all
that is trained). That token's keys and values are the chunk's candidate. The local context then
attends to the candidates of all chunks, which stand before it, one position each. For every token
of the answer the candidates are made again and the local context is read again, as in the authors'
code. What the chunks themselves hold (keys and values) is kept for all questions. Not taken over:
training on texts, and on repeating them.
"""

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache

from e2llm.checks import check_count
from e2llm.engines import Sampling
from e2llm.errors import E2LLMError, UserError
from e2llm.methods.attention.base import _Engine
from e2llm.methods.attention.lambda_attention import _turn, _turned
from e2llm.methods.attention.lambda_attention import check_decoder as check_positions
from e2llm.methods.base import AROUND, Needs, Prompt, Reading, Result, TimedGeneration
from e2llm.methods.compression.base import TrainedReading
from e2llm.methods.position.twin import rotary
from e2llm.model.operations import decoder_bytes, decoder_flops, writing_flops
from e2llm.model.versions import cache_argument
from e2llm.reading.prompt import Passage

_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")


@dataclass(frozen=True)
class _Kept:
    """The end of a document as text, and the cache of each chunk before it."""

    tail: list[Passage]
    chunks: list[Cache]


@dataclass
class FocusLlm(TrainedReading):
    """Read the end of the document as text, which attends to one candidate for every chunk before
    it.

    Attributes:
        chunk_tokens: Tokens of a chunk (the authors': 2,048); at most half of the decoder's window.
        local_tokens: Tokens at the document's end that stand as text (the authors': 2,048 with the
            question); at most half of the decoder's window.
        fragment_tokens: Tokens at the prompt's end that are read after every chunk (the authors':
            512); at most a quarter of the decoder's window.
        renew_tokens: Tokens of the answer for which candidates serve (1, the authors'); more cost
            less, and tell less about the later ones.
    """

    chunk_tokens: int = 2048
    local_tokens: int = 2048
    fragment_tokens: int = 512
    renew_tokens: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("chunk_tokens", "local_tokens", "fragment_tokens", "renew_tokens"):
            check_count(name, getattr(self, name), 1)
        check_decoder(self.pair.base.decoder)

    def build(self) -> "FocusModel":
        """Put the added projections beside the decoder's own."""
        return FocusModel(self.base_decoder())

    def look(self, text: str) -> _Kept:
        """Read every chunk, each as if it were alone."""
        head, tail = self._split(text, self._least(self.local_tokens, 2))
        ids, size = self.pair.processor.text_ids(head), self._n_chunk
        return _Kept(
            tail, [self.model.read(ids[start : start + size]) for start in range(0, len(ids), size)]
        )

    def prompt(self, kept: Any, question: str, max_new_tokens: int) -> Prompt:
        """Return the document's end with the question after it."""
        return self.text_prompt(kept.tail, question, max_new_tokens + len(kept.chunks))

    def positions(self, n_tokens: int) -> int:
        """Return the tokens of the document's end, and one for every chunk before it."""
        n_local = min(n_tokens, self._least(self.local_tokens, 2))
        return n_local + self._n_chunks(n_tokens)

    def read(self, text: str) -> Reading:
        """Read the chunks, once, and count what that takes."""
        reading = super().read(text)
        sizes = [chunk.get_seq_length() for chunk in reading.kept.chunks]
        return replace(
            reading, flops=sum(decoder_flops(self._plain, size, n_logits=0) for size in sizes)
        )

    def answer(self, reading: Reading, question: str, max_new_tokens: int) -> Result:
        """Answer a question greedily."""
        start_s = time.perf_counter()
        ids = self.prompt(reading.kept, question, max_new_tokens).ids
        writing = _Writing(
            self.model,
            [_copied(chunk) for chunk in reading.kept.chunks],
            ids,
            self._n_fragment,
            self.renew_tokens,
        )
        engine, generation = (
            _Engine(self.decoder, self.pair.processor.tokenizer, writing.cache),
            TimedGeneration(),
        )
        # Only the prompt's last token is not in the cache; of the other embeddings the number alone
        # counts.
        n_prompt = len(reading.kept.chunks) + len(ids)
        embeddings = self.embed(Prompt(ids[-1:])).expand(n_prompt, -1)
        with writing.renewing():
            text = "".join(engine.stream(embeddings, Sampling(max_new_tokens), generation)).strip()
        total_s = time.perf_counter() - start_s
        first_s = generation.first_s - start_s if generation.n_tokens else total_s
        sizes = [chunk.get_seq_length() for chunk in reading.kept.chunks]
        flops = self._answer_flops(sizes, len(ids), generation.n_tokens)
        return Result(text, n_prompt, len(sizes), 0, generation.n_tokens, first_s, total_s, flops)

    def logits(self, kept: Any, question: str, ids: list[int]) -> Tensor:
        """Return what the decoder says of each token of an answer before it reads it,
        (n_answer_tokens, vocab).
        """
        prompt = self.prompt(kept, question, len(ids)).ids
        first, whole = max(0, len(prompt) - self._n_fragment), prompt + ids
        # Without chunks there are no candidates to make again.
        starts = range(0, len(ids), self.renew_tokens if kept.chunks else len(ids))
        chunks = [_copied(chunk) for chunk in kept.chunks]
        candidates = self.model.candidates(
            chunks, whole[first:], [len(prompt) - 1 + start - first for start in starts]
        )
        logits = []
        for start, cache in zip(starts, candidates, strict=True):
            stop = min(start + starts.step, len(ids))
            logits.append(self.model.say(whole[: len(prompt) + stop - 1], cache, stop - start))
        return torch.cat(logits)

    def needs(self, n_tokens: int, max_new_tokens: int) -> list[Needs]:
        """Predict as every method does; all keys and values of the document are kept."""
        n_local, n_chunks = self.positions(n_tokens), self._n_chunks(n_tokens)
        sizes = [self._n_chunk] * n_chunks
        flops = sum(decoder_flops(self._plain, size, n_logits=0) for size in sizes)
        flops += self._answer_flops(sizes, n_local - n_chunks + AROUND, max_new_tokens)
        own = Needs(decoder_bytes(self._plain, n_tokens), flops)
        return [*super().needs(n_tokens, max_new_tokens), own]

    @property
    def _n_chunk(self) -> int:
        return self._least(self.chunk_tokens, 2)

    @property
    def _n_fragment(self) -> int:
        return self._least(self.fragment_tokens, 4)

    @property
    def _plain(self) -> Any:
        """The pair's decoder, whose sizes are those of the decoder without the added projections."""
        return self.pair.base.decoder

    def _least(self, n_tokens: int, parts: int) -> int:
        return n_tokens if self.window is None else min(n_tokens, self.window // parts)

    def _n_chunks(self, n_tokens: int) -> int:
        return -(-max(0, n_tokens - self._least(self.local_tokens, 2)) // self._n_chunk)

    def _answer_flops(self, sizes: list[int], n_prompt: int, n_tokens: int) -> int:
        """Count the operations of an answer: what is read after every chunk, and the local context
        with the head.
        """
        flops, n_read = 0, 0
        for place in range(0, max(1, n_tokens), self.renew_tokens if sizes else max(1, n_tokens)):
            n_fragment = min(self._n_fragment, n_prompt) + place
            flops += sum(
                decoder_flops(self._plain, n_fragment - n_read, size + n_read, n_logits=0)
                for size in sizes
            )
            n_read = n_fragment - 1  # of which the candidate's own place is read again
            n_said = min(self.renew_tokens if sizes else n_tokens, n_tokens - place)
            flops += writing_flops(self._plain, len(sizes) + n_prompt + place, n_said)
            flops += decoder_flops(self._plain, n_prompt + place, len(sizes))
        return flops


class FocusModel(nn.Module):
    """A decoder with added projections, by which candidates are made.

    Args:
        decoder: The frozen decoder; its projections are replaced by pairs of its own and an added
            one.
    """

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.decoder = decoder
        decoder.set_attn_implementation("sdpa")  # which takes masks of any form
        # layers that are computed again keep no keys and values, which are all that is wanted here
        decoder.supports_gradient_checkpointing = False
        *others, last = decoder.base_model.layers
        for layer in [*others, last]:
            for name in (
                _PROJECTIONS if layer is not last else ("k_proj", "v_proj")
            ):  # no layer reads what the others of the last lead to
                setattr(layer.self_attn, name, CandidateProjection(getattr(layer.self_attn, name)))

    def read(self, ids: list[int], cache: Cache | None = None, **options: Any) -> Cache:
        """Read token ids after what a cache holds, and return the cache with them; None for a new
        one.
        """
        cache = DynamicCache(config=self.decoder.config) if cache is None else cache
        inputs = torch.tensor([ids], device=self.decoder.device)
        self.decoder.base_model(
            input_ids=inputs, use_cache=True, **options, **{cache_argument(): cache}
        )
        return cache

    def candidates(self, chunks: list[Cache], ids: list[int], places: list[int]) -> list[Cache]:
        """Read token ids after every chunk, and return for each of `places` a cache with all
        chunks' candidates for that place.

        Args:
            chunks: The chunks' caches, which are left with the ids before the last place.
            ids: What is read after every chunk.
            places: Which of the ids, in order, are candidates; each sees its chunk and the ids
                before it.
        """
        found = [self._after(chunk, ids, places, order) for order, chunk in enumerate(chunks)]
        caches = [DynamicCache(config=self.decoder.config) for _ in places]
        for index, layer in enumerate(zip(*found, strict=True)):
            keys, values = (torch.cat(parts, dim=2) for parts in zip(*layer, strict=True))
            for place, cache in enumerate(caches):
                cache.update(
                    keys[:, :, place :: len(places)], values[:, :, place :: len(places)], index
                )
        return caches

    def say(self, ids: list[int], cache: Cache, n_logits: int) -> Tensor:
        """Read token ids after a cache, and return the logits after the last `n_logits`, (n_logits,
        vocab).
        """
        inputs = torch.tensor([ids], device=self.decoder.device)
        return self.decoder(
            input_ids=inputs, use_cache=True, logits_to_keep=n_logits, **{cache_argument(): cache}
        ).logits[0]

    def _after(
        self, chunk: Cache, ids: list[int], places: list[int], order: int
    ) -> list[tuple[Tensor, Tensor]]:
        """Return each layer's keys and values of one chunk's candidates, (1, kv_heads, n_places,
        head_dim), turned to position `order`.
        """
        n_before, n_read, n_places = chunk.get_seq_length(), places[-1], len(places)
        positions = torch.tensor([*range(n_read), *places], device=self.decoder.device)
        # What is read sees itself and all before; a candidate, which stands in the place of a token
        # that is read, sees all before and itself.
        ordinary = torch.arange(n_read + n_places, device=self.decoder.device) < n_read
        visible = torch.zeros(
            n_read + n_places,
            n_before + n_read + n_places,
            dtype=torch.bool,
            device=self.decoder.device,
        )
        visible[:, :n_before] = True
        visible[:, n_before : n_before + n_read] = (
            torch.arange(n_read, device=self.decoder.device) < (positions + ordinary)[:, None]
        )
        visible[n_read:, n_before + n_read :] = torch.eye(n_places, dtype=torch.bool)
        with self._making(n_places):
            inputs = ids[:n_read] + [ids[place] for place in places]
            self.read(
                inputs,
                chunk,
                attention_mask=visible[None, None],
                position_ids=(n_before + positions)[None],
            )
        turn = _turn(order - n_before - positions[n_read:], rotary(self.decoder).inv_freq)
        found = [
            (_turned(layer.keys[:, :, -n_places:], turn), layer.values[:, :, -n_places:])
            for layer in chunk.layers
        ]
        for layer in chunk.layers:
            layer.keys, layer.values = layer.keys[:, :, :-n_places], layer.values[:, :, :-n_places]
        return found

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
    """A projection of the decoder beside an added one, which is a copy of it as it begins and which
    alone is trained.

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
        return torch.cat([self.own(states[:, :n_own]), self.added(states[:, n_own:])], dim=1)


class _Writing:
    """An answer while it is written: before every `renew` tokens the candidates, and what the local
    context makes of them, are made again.

    Attributes:
        cache: What the decoder goes on from: the candidates, and all tokens so far but the last.
    """

    def __init__(
        self, model: FocusModel, chunks: list[Cache], ids: list[int], n_fragment: int, renew: int
    ) -> None:
        self.model, self.chunks, self.ids, self.renew = model, chunks, list(ids), renew
        self.n_written, self.n_read = 0, max(0, len(ids) - n_fragment)
        self.cache = self._made()

    @contextmanager
    def renewing(self) -> Iterator[None]:
        """Do so while the decoder writes."""
        hook = self.model.decoder.register_forward_pre_hook(self._before_token, with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()

    def _before_token(self, decoder: nn.Module, arguments: Any, options: dict[str, Any]) -> None:
        if options.get("input_ids") is None:  # the prompt's last token, which comes as an embedding
            return
        self.ids.append(int(options["input_ids"][0, -1]))
        self.n_written += 1
        if self.chunks and self.n_written % self.renew == 0:
            for layer, made in zip(self.cache.layers, self._made().layers, strict=True):
                layer.keys, layer.values = made.keys, made.values

    @torch.no_grad()
    def _made(self) -> Cache:
        (cache,) = self.model.candidates(
            self.chunks, self.ids[self.n_read :], [len(self.ids) - 1 - self.n_read]
        )
        self.n_read = len(self.ids) - 1
        return self.model.read(self.ids[:-1], cache)


def check_decoder(decoder: Any) -> None:
    """Check that candidates can be made with a decoder.

    Raises:
        UserError: Its attention has other projections than Llama's, or other positions.
    """
    layers = getattr(decoder.base_model, "layers", [])
    if not len(layers) or not all(
        hasattr(getattr(layer, "self_attn", None), name)
        for layer in layers
        for name in _PROJECTIONS
    ):
        raise UserError(
            f"the decoder ({decoder.config.model_type}) has other layers than Llama's "
            f"(`self_attn` with {', '.join(_PROJECTIONS)}), beside which focusllm puts its "
            "own; use a pair with a Llama, SmolLM, Mistral or Qwen decoder."
        )
    try:
        check_positions(decoder)
    except E2LLMError as error:
        raise UserError(f"focusllm: {error}") from error


def _copied(cache: Cache) -> Cache:
    """Return a cache to go on from; layers replace their tensors and never write into them."""
    return Cache(layers=[copy.copy(layer) for layer in cache.layers])
