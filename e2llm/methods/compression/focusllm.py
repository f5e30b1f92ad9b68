"""FocusLLM (Li et al. 2024, arXiv 2408.11745): one candidate for every chunk, read beside the end.

The document is cut into chunks, and its end stands as text before the question: the local context.
The end of the local context is read after every chunk, all chunks apart (section 3), its last token
by added projections (q, k, v, o of every layer; copies of the decoder's own as they begin, and all
that is trained). That token's keys and values are the chunk's candidate: what the decoder would say
next of it. The local context then attends to the candidates of all chunks, which stand before it,
one position each. For every token of the answer the candidates are made again and the local context
is read again, as in the authors' code. What the chunks themselves hold (keys and values) is kept
for all questions. Not taken over: training on texts, and on repeating them.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache

from e2llm.checks import check_count
from e2llm.engines import Sampling
from e2llm.methods.base import AROUND, Needs, Prompt, Reading, Result, TimedGeneration
from e2llm.methods.compression.base import TrainedReading
from e2llm.methods.decoders.cache import CacheEngine, branch
from e2llm.methods.decoders.candidates import CandidateDecoder, check_decoder
from e2llm.model.operations import decoder_bytes, decoder_flops, writing_flops
from e2llm.reading.prompt import Passage


@dataclass(frozen=True)
class _Kept:
    """The end of a document as text, and the cache of each chunk before it."""

    tail: list[Passage]
    chunks: list[Cache]


@dataclass
class FocusLlm(TrainedReading):
    """Read the end of the document as text, beside one candidate for every chunk before it.

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

    def build(self) -> CandidateDecoder:
        """Put the added projections beside the decoder's own."""
        return CandidateDecoder(self.base_decoder())

    def look(self, text: str) -> _Kept:
        """Read every chunk, each as if it were alone."""
        head, tail = self._split(text, self._least(self.local_tokens, 2))
        ids, size = self.pair.processor.text_ids(head), self._n_chunk
        starts = range(0, len(ids), size)
        return _Kept(tail, [self.model.read(ids[start : start + size]) for start in starts])

    def prompt(self, kept: Any, question: str, max_new_tokens: int) -> Prompt:
        """Return the document's end with the question after it."""
        # Every candidate takes a position of the window, as a token of the answer does.
        return self.text_prompt(kept.tail, question, max_new_tokens + len(kept.chunks))

    def positions(self, n_tokens: int) -> int:
        """Return the tokens of the document's end, and one for every chunk before it."""
        n_local = min(n_tokens, self._least(self.local_tokens, 2))
        return n_local + self._n_chunks(n_tokens)

    def read(self, text: str) -> Reading:
        """Read the chunks, once, and count what that takes."""
        reading = super().read(text)
        sizes = [chunk.get_seq_length() for chunk in reading.kept.chunks]
        flops = sum(decoder_flops(self._plain, size, n_logits=0) for size in sizes)
        return replace(reading, flops=flops)

    def answer(self, reading: Reading, question: str, max_new_tokens: int) -> Result:
        """Answer a question greedily."""
        start_s = time.perf_counter()
        ids = self.prompt(reading.kept, question, max_new_tokens).ids
        chunks = [branch(chunk) for chunk in reading.kept.chunks]
        writing = _Writing(self.model, chunks, ids, self._n_fragment, self.renew_tokens)
        engine = CacheEngine(self.decoder, self.pair.processor.tokenizer, writing.cache)
        generation = TimedGeneration()
        # Only the prompt's last token is not in the cache; of the other embeddings the number alone
        # counts: (1, d_dec) -> (seq, d_dec).
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
        """Return the logits that say each token of an answer, (n_answer_tokens, vocab)."""
        prompt = self.prompt(kept, question, len(ids)).ids
        # The fragment begins at `first`, from where the places of candidates are counted.
        first, whole = max(0, len(prompt) - self._n_fragment), prompt + ids
        # Without chunks there are no candidates to make again.
        starts = range(0, len(ids), self.renew_tokens if kept.chunks else len(ids))
        chunks = [branch(chunk) for chunk in kept.chunks]
        places = [len(prompt) - 1 + start - first for start in starts]
        candidates = self.model.candidates(chunks, whole[first:], places)
        logits = []
        for start, cache in zip(starts, candidates, strict=True):
            stop = min(start + starts.step, len(ids))
            # (stop - start, vocab)
            logits.append(self.model.say(whole[: len(prompt) + stop - 1], cache, stop - start))
        return torch.cat(logits)  # (n_answer_tokens, vocab)

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
        """The pair's decoder, whose sizes are those without the added projections."""
        return self.pair.base.decoder

    def _least(self, n_tokens: int, parts: int) -> int:
        return n_tokens if self.window is None else min(n_tokens, self.window // parts)

    def _n_chunks(self, n_tokens: int) -> int:
        return -(-max(0, n_tokens - self._least(self.local_tokens, 2)) // self._n_chunk)

    def _answer_flops(self, sizes: list[int], n_prompt: int, n_tokens: int) -> int:
        """Count the operations of an answer.

        They are what is read after every chunk, and the local context with the head.
        """
        flops, n_read = 0, 0
        step = self.renew_tokens if sizes else max(1, n_tokens)
        for place in range(0, max(1, n_tokens), step):
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


class _Writing:
    """An answer while it is written.

    Before every `renew` tokens the candidates, and what the local context makes of them, are made
    again.

    Attributes:
        cache: What the decoder goes on from: the candidates, and all tokens so far but the last.
    """

    def __init__(
        self,
        model: CandidateDecoder,
        chunks: list[Cache],
        ids: list[int],
        n_fragment: int,
        renew: int,
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
        # The last token so far is the candidate's; those before it are read after the chunks once.
        last = len(self.ids) - 1 - self.n_read
        (cache,) = self.model.candidates(self.chunks, self.ids[self.n_read :], [last])
        self.n_read = len(self.ids) - 1
        return self.model.read(self.ids[:-1], cache)
