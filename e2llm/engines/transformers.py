"""The reference engine: `generate` of transformers, streamed.

The cache of the last prompt is kept. A prompt that starts with the same embeddings (the same
documents, another question) reuses that part of it: `generate` takes the full `inputs_embeds` and
the filled cache.
"""

import threading
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from queue import Queue
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    DynamicCache,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
    TextIteratorStreamer,
)
from transformers.cache_utils import DynamicLayer

from e2llm.engines import Generation, Sampling
from e2llm.model.attention import attend_by_groups
from e2llm.model.versions import cache_argument

# Penalising only what has been written is what is wanted here: an answer may quote the prompt.
warnings.filterwarnings("ignore", message="Passing `repetition_penalty` with `inputs_embeds`")

# What of a checkpoint's own generation configuration holds for every answer; the rest (sampling,
# caches, numbers of sequences) is `Sampling`'s.
_KEPT_OF_CHECKPOINT = (
    "bos_token_id",
    "eos_token_id",
    "repetition_penalty",
    "no_repeat_ngram_size",
    "suppress_tokens",
    "bad_words_ids",
)
# torch has one random number generator per process, and a checkpoint one generation configuration:
# generations take turns.
_turn = threading.Lock()


class TransformersEngine:
    """Stream a decoder's answers with transformers' `generate`."""

    def __init__(self, decoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.decoder = decoder
        self.tokenizer = tokenizer
        attend_by_groups(decoder)
        # The last prompt, its cache, and the state of the weights that filled it.
        self._kept: tuple[Tensor, DynamicCache, object] | None = None

    def stream(
        self, inputs_embeds: Tensor, sampling: Sampling, generation: Generation
    ) -> Iterator[str]:
        """Yield the answer piece by piece.

        Closing the iterator, or an interrupt, stops the decoder within a layer. Where the answer
        was cut at `max_new_tokens`, replacement characters (U+FFFD) at its end are not yielded:
        they stand for bytes of a character whose others are missing (or, hardly ever, are what the
        decoder wrote).
        """
        inputs_embeds = inputs_embeds.to(self.decoder.device)
        stop = _Stop()
        ends = _end_ids(self.decoder)
        streamer = _Streamer(self.tokenizer, generation, sampling.max_new_tokens, ends)

        def run() -> None:
            try:
                with _turn, stop.between_layers(self.decoder), _plain_rows(self.decoder):
                    self._generate(inputs_embeds, sampling, generation, streamer, stop)
            except _Stopped:
                streamer.end()
            except BaseException as error:  # handed to the reader, in whose thread it is raised
                streamer.text_queue.put(error)

        worker = threading.Thread(target=run, daemon=True)
        worker.start()
        left = False
        try:
            yield from _pieces(streamer.text_queue)
        except (GeneratorExit, KeyboardInterrupt):
            left = True
            raise
        finally:
            stop.wanted = True
            worker.join()
            if left:  # whatever the decoder has made of it meanwhile
                generation.finish_reason = "cancelled"

    def _generate(
        self,
        inputs_embeds: Tensor,
        sampling: Sampling,
        generation: Generation,
        streamer: "_Streamer",
        stop: "_Stop",
    ) -> None:
        kept, self._kept = self._kept, None
        options = _options(sampling, self.tokenizer)
        cache, state = None, _state(self.decoder)
        # A reused cache differs from a fresh one in the last bits, which a sampled answer may show:
        # with a seed it must not.
        if sampling.num_beams == 1 and not (sampling.temperature > 0 and sampling.seed is not None):
            cache, generation.n_reused = self._reuse(kept, inputs_embeds, state)
            options[cache_argument()] = cache
        own = self.decoder.generation_config
        self.decoder.generation_config = GenerationConfig(
            **{name: getattr(own, name, None) for name in _KEPT_OF_CHECKPOINT}
        )
        try:
            with torch.random.fork_rng(enabled=sampling.seed is not None), torch.inference_mode():
                if sampling.seed is not None:
                    torch.manual_seed(sampling.seed)
                embeddings = inputs_embeds[None]  # (1, seq, d_dec)
                output = self.decoder.generate(
                    inputs_embeds=embeddings,
                    attention_mask=embeddings.new_ones(embeddings.shape[:2], dtype=torch.long),
                    streamer=streamer if sampling.num_beams == 1 else None,
                    stopping_criteria=StoppingCriteriaList([stop]),
                    **options,
                )
        finally:
            self.decoder.generation_config = own
        if sampling.num_beams > 1:
            streamer.put(output[0].cpu())  # (n_answer_tokens,): of a prompt of embeddings no ids
            streamer.end()
        if cache is not None and not stop.acted:
            self._kept = inputs_embeds, cache, state

    def _reuse(
        self, kept: tuple[Tensor, DynamicCache, object] | None, inputs_embeds: Tensor, state: object
    ) -> tuple[DynamicCache, int]:
        """Return the cache of the last prompt, cut to what this one begins with, and its length.

        A new cache where they begin differently, the weights have changed, or layers forget.
        """
        known = kept is not None and kept[2] == state
        if kept is not None and known and all(type(own) is DynamicLayer for own in kept[1].layers):
            prompt, cache, _ = kept
            length = min(len(prompt), len(inputs_embeds) - 1)
            # (length, d_dec) -> the positions at which the two differ, (n, 1)
            differs = (prompt[:length] != inputs_embeds[:length]).any(-1).nonzero()
            length = int(differs[0]) if len(differs) else length
            if length:
                # A negative number is how many positions go: those of the last answer, and of the
                # prompt from where it differs.
                cache.crop(length - cache.get_seq_length())
                return cache, length
        return DynamicCache(config=self.decoder.config), 0


def _state(decoder: PreTrainedModel) -> object:
    """Return what changes when the decoder's weights or its LoRA's switches do."""
    switched = [module for module in decoder.modules() if hasattr(module, "disable_adapters")]
    # torch counts the changes of a tensor in place.
    versions = [(parameter.data_ptr(), parameter._version) for parameter in decoder.parameters()]
    return versions, [module.disable_adapters for module in switched]


class _Stopped(Exception):  # noqa: N818 - not an error: the reader has gone
    pass


class _Stop(StoppingCriteria):
    """Tell the decoder that nobody wants the rest.

    It is told after a token, and between layers, for a long prompt takes many seconds.
    """

    def __init__(self) -> None:
        self.wanted = False  # set by the reader, at the end of every stream
        self.acted = False  # whether it cut anything short

    @contextmanager
    def between_layers(self, decoder: PreTrainedModel) -> Iterator[None]:
        """Raise `_Stopped` before the next layer once the rest is not wanted."""

        def check(*_: Any) -> None:
            if self.wanted:
                raise _Stopped

        lists = [module for module in decoder.modules() if isinstance(module, nn.ModuleList)]
        hooks = [layer.register_forward_pre_hook(check) for layers in lists for layer in layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        self.acted = self.acted or self.wanted
        return torch.full((len(input_ids),), self.wanted, device=input_ids.device)


class _Streamer(TextIteratorStreamer):
    """Count the tokens that pass, and tell why they end.

    Args:
        tokenizer: Of the decoder.
        generation: What is told of them.
        most: Tokens at which an answer is cut.
        end_ids: Ids that end an answer.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        generation: Generation,
        most: int,
        end_ids: Collection[int],
    ) -> None:
        super().__init__(tokenizer, skip_special_tokens=True)
        self.generation = generation
        self.most = most
        self.end_ids = end_ids
        self.ended = False

    def put(self, value: Tensor) -> None:
        """Take the next token; at the start of `generate` the prompt's ids, here none."""
        if value.numel():
            self.generation.n_tokens += value.numel()
            self.ended = self.ended or any(own in self.end_ids for own in value.flatten().tolist())
            super().put(value)

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Hand a piece to the reader; the last one of a cut answer without half a character."""
        if stream_end:
            cut = not self.ended and self.generation.n_tokens >= self.most
            self.generation.finish_reason = "length" if cut else "stop"
            text = text.rstrip("\ufffd") if cut else text
        super().on_finalized_text(text, stream_end)


@contextmanager
def _plain_rows(decoder: PreTrainedModel) -> Iterator[None]:
    """On a CPU, multiply the one row of a token that is written without oneDNN.

    It repacks bfloat16 weights for every product.
    """
    if decoder.device.type != "cpu" or decoder.dtype != torch.bfloat16:
        yield
        return
    onednn: Any = torch.backends.mkldnn
    own = onednn.enabled

    def enter(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        given = kwargs.get("input_ids")  # (batch, seq)
        if kwargs.get("inputs_embeds") is not None:
            given = kwargs["inputs_embeds"][..., 0]  # (batch, seq, d_dec) -> (batch, seq)
        onednn.enabled = own and (given is None or given.numel() > 1)

    def leave(*_: Any) -> None:
        onednn.enabled = own

    hooks = [
        decoder.register_forward_pre_hook(enter, with_kwargs=True),
        decoder.register_forward_hook(leave, always_call=True),
    ]
    try:
        yield
    finally:
        leave()
        for hook in hooks:
            hook.remove()


def _end_ids(decoder: PreTrainedModel) -> set[int]:
    """Return the ids that end an answer."""
    given = decoder.generation_config.eos_token_id
    return {
        own for own in (given if isinstance(given, list | tuple) else [given]) if own is not None
    }


def _pieces(queue: "Queue[Any]") -> Iterator[str]:
    while (piece := queue.get()) is not None:
        if isinstance(piece, BaseException):
            raise piece
        if piece:
            yield piece


def _options(sampling: Sampling, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    options: dict[str, Any] = {
        "max_new_tokens": sampling.max_new_tokens,
        "num_beams": sampling.num_beams,
        "do_sample": sampling.temperature > 0,
    }
    if sampling.temperature > 0:
        options |= {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p or 1.0,
            "top_k": sampling.top_k or 0,
            "min_p": sampling.min_p,
        }
    if sampling.repetition_penalty is not None:
        options["repetition_penalty"] = sampling.repetition_penalty
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    return options | {"pad_token_id": pad}
