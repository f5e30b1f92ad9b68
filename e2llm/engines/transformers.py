"""The reference engine: `generate` of transformers, streamed.

The cache of the last prompt is kept. A prompt that starts with the same embeddings (the same documents, another question) reuses
that part of it: `generate` takes the full `inputs_embeds` and the filled cache.
"""

import threading
import warnings
from collections.abc import Iterator
from queue import Queue
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteria, StoppingCriteriaList, TextIteratorStreamer
from transformers.cache_utils import DynamicLayer

from e2llm.engines import Generation, Sampling
from e2llm.model.modeling import cache_argument

# Penalising only what has been written is what is wanted here: an answer may quote the prompt.
warnings.filterwarnings("ignore", message="Passing `repetition_penalty` with `inputs_embeds`")


class TransformersEngine:
    """Stream a decoder's answers with transformers' `generate`."""

    def __init__(self, decoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.decoder = decoder
        self.tokenizer = tokenizer
        self._kept: tuple[Tensor, DynamicCache] | None = None  # the last prompt and its cache

    def stream(self, inputs_embeds: Tensor, sampling: Sampling, generation: Generation) -> Iterator[str]:
        """Yield the answer piece by piece; closing the iterator, or an interrupt, stops the decoder after its current step."""
        inputs_embeds = inputs_embeds.to(self.decoder.device)
        options = _options(sampling, self.tokenizer)
        # Taken by this stream alone, and put back by it only once it has ended well: two streams at once never share a cache.
        kept, self._kept = self._kept, None
        cache = None
        # A reused cache differs from a fresh one in the last bits, which a sampled answer may show: with a seed it must not.
        if sampling.num_beams == 1 and not (sampling.temperature > 0 and sampling.seed is not None):
            cache, generation.n_reused = self._reuse(kept, inputs_embeds)
            options[cache_argument()] = cache
        stop = _Stop()
        streamer = _Streamer(self.tokenizer, generation)

        def run() -> None:
            try:
                with torch.random.fork_rng(enabled=sampling.seed is not None), torch.inference_mode():
                    if sampling.seed is not None:
                        torch.manual_seed(sampling.seed)
                    output = self.decoder.generate(
                        inputs_embeds=inputs_embeds[None],
                        attention_mask=torch.ones(1, len(inputs_embeds), dtype=torch.long, device=inputs_embeds.device),
                        streamer=streamer if sampling.num_beams == 1 else None,
                        stopping_criteria=StoppingCriteriaList([stop]),
                        **options,
                    )
                if sampling.num_beams > 1:
                    streamer.put(output[0].cpu())
                    streamer.end()
            except BaseException as error:  # handed to the reader, in whose thread it is raised again
                streamer.text_queue.put(error)

        worker = threading.Thread(target=run, daemon=True)
        worker.start()
        done = False
        try:
            yield from _pieces(streamer.text_queue)
            done = True
        finally:
            stop.wanted = True
            worker.join()
            if done and cache is not None:
                self._kept = inputs_embeds, cache

    def _reuse(self, kept: tuple[Tensor, DynamicCache] | None, inputs_embeds: Tensor) -> tuple[DynamicCache, int]:
        """Return the cache of the last prompt cut to what this prompt begins with, and how long that is; a new cache where nothing is."""
        if kept is not None and all(type(layer) is DynamicLayer for layer in kept[1].layers):
            prompt, cache = kept
            length = min(len(prompt), len(inputs_embeds) - 1)
            differs = (prompt[:length] != inputs_embeds[:length]).any(-1).nonzero()
            length = int(differs[0]) if len(differs) else length
            if length:
                # A negative number is how many positions go: those of the last answer, and of the prompt from where it differs.
                cache.crop(length - cache.get_seq_length())
                return cache, length
        return DynamicCache(config=self.decoder.config), 0


class _Stop(StoppingCriteria):
    wanted = False

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        return torch.full((len(input_ids),), self.wanted, device=input_ids.device)


class _Streamer(TextIteratorStreamer):
    """Count the tokens that pass."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, generation: Generation) -> None:
        super().__init__(tokenizer, skip_special_tokens=True)
        self.generation = generation

    def put(self, value: Tensor) -> None:
        """Take the next token, or, at the start of `generate`, the prompt's ids, of which embeddings have none."""
        if value.numel():
            self.generation.n_tokens += value.numel()
            super().put(value)


def _pieces(queue: "Queue[Any]") -> Iterator[str]:
    while (piece := queue.get()) is not None:
        if isinstance(piece, BaseException):
            raise piece
        if piece:
            yield piece


def _options(sampling: Sampling, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    options: dict[str, Any] = {"max_new_tokens": sampling.max_new_tokens, "num_beams": sampling.num_beams, "do_sample": sampling.temperature > 0}
    if sampling.temperature > 0:
        options |= {"temperature": sampling.temperature, "top_p": sampling.top_p or 1.0, "top_k": sampling.top_k or 0, "min_p": sampling.min_p}
    else:  # said outright, or the library warns of what a checkpoint's generation_config.json holds for sampling
        options |= {"temperature": None, "top_p": None, "top_k": None, "min_p": None}
    if sampling.repetition_penalty is not None:
        options["repetition_penalty"] = sampling.repetition_penalty
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    return options | {"pad_token_id": pad}
