"""Base of the methods that read a text of any length into a cache that stops growing."""

import time
from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import Cache

from e2llm.checks import check_count
from e2llm.engines import Sampling
from e2llm.methods.base import AROUND, Needs, Prompt, Reading, Result, TimedGeneration
from e2llm.methods.bounds.full_text import FullText
from e2llm.methods.decoders.cache import CacheEngine, branch
from e2llm.methods.decoders.lambda_attention import (
    Shape,
    check_decoder,
    lambda_cache,
    lambda_decoder,
)
from e2llm.model.operations import attention_flops, linear_weights
from e2llm.model.versions import cache_argument
from e2llm.reading.prompt import Passage, answer_text


@dataclass(frozen=True)
class _Kept:
    """A document, the token ids that every prompt about it begins with, and the cache of them."""

    passages: list[Passage]
    ids: list[int]
    cache: Cache


@dataclass
class FlatMemory(FullText):
    """Read the whole document as text with Λ-shaped attention; nothing limits its length.

    The document is read once, piece by piece, up to where the question begins; every question goes
    on from there.

    Attributes:
        piece_tokens: Tokens that are read together (ours: it bounds the memory and changes no
            result).
    """

    piece_tokens: int = 256
    role: ClassVar[str] = ""

    def __post_init__(self) -> None:
        check_count("piece_tokens", self.piece_tokens, 1)
        check_decoder(self.pair.base.decoder)

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """Which tokens are seen, and how far away they look."""

    @cached_property
    def decoder(self) -> Any:
        """The pair's decoder with Λ-shaped attention; the weights are shared."""
        return lambda_decoder(self.pair.base.decoder, self.shape)

    @property
    def window(self) -> None:
        """Nothing limits the length."""
        return None

    def keep(self, text: str) -> Any:
        """Read the document as far as no question changes it."""
        passages = super().keep(text)
        # Two questions that begin differently show where the document's own part of a prompt ends.
        ids, other = (self.text_prompt(passages, question, 1).ids for question in ("?", "A"))
        pairs = enumerate(zip(ids, other, strict=False))
        n_common = next((place for place, (own, its) in pairs if own != its), 0)
        cache = lambda_cache(self.decoder, self.shape)
        self._feed(cache, ids[:n_common])
        return _Kept(passages, ids[:n_common], cache)

    def prompt(self, kept: Any, question: str, max_new_tokens: int) -> Prompt:
        """Return the text with the question after it."""
        return super().prompt(kept.passages, question, max_new_tokens)

    def read(self, text: str) -> Reading:
        """Read the document, once, and count what that takes."""
        reading = super().read(text)
        return replace(reading, flops=self._flops(0, len(reading.kept.ids), self.piece_tokens))

    def answer(self, reading: Reading, question: str, max_new_tokens: int) -> Result:
        """Answer a question greedily."""
        start_s = time.perf_counter()
        ids = self.prompt(reading.kept, question, max_new_tokens).ids
        cache, n_reused = self._continued(reading.kept, ids)
        self._feed(cache, ids[n_reused:-1])
        engine = CacheEngine(self.decoder, self.pair.processor.tokenizer, cache)
        generation = TimedGeneration()
        # Only the last token is not in the cache; the rest of the prompt's embeddings, which nobody
        # reads, is that one without memory of its own: (1, d_dec) -> (seq, d_dec).
        embeddings = self.embed(Prompt(ids[-1:])).expand(len(ids), -1)
        text = "".join(engine.stream(embeddings, Sampling(max_new_tokens), generation)).strip()
        total_s = time.perf_counter() - start_s
        first_s = generation.first_s - start_s if generation.n_tokens else total_s
        flops = self._flops(n_reused, len(ids) - n_reused, self.piece_tokens)
        flops += self._flops(len(ids), generation.n_tokens - 1, 1)
        return Result(text, len(ids), 0, n_reused, generation.n_tokens, first_s, total_s, flops)

    def score(self, reading: Reading, question: str, answer: str) -> Tensor:
        """Return the nats of each token of a given answer, (n_answer_tokens,) float32."""
        ids = self.pair.processor.text_ids(answer_text(self.pair.processor, answer))
        prompt = self.prompt(reading.kept, question, len(ids)).ids
        cache, n_reused = self._continued(reading.kept, prompt)
        # What is read last says the answer's tokens: (n_answer_tokens, vocab)
        logits = torch.cat(self._feed(cache, prompt[n_reused:] + ids[:-1], len(ids)))
        wanted = torch.tensor(ids, device=logits.device)  # (n_answer_tokens,)
        return F.cross_entropy(logits.float(), wanted, reduction="none").cpu()

    def needs(self, n_tokens: int, max_new_tokens: int) -> list[Needs]:
        """Predict as every method does; the document's length costs time alone."""
        n_held = min(n_tokens, self.shape.n_kept(n_tokens) + self.piece_tokens)
        flops = self._flops(0, n_tokens + AROUND, self.piece_tokens)
        own = Needs(flops=flops, n_written=max_new_tokens)
        return [*super().needs(n_held, max_new_tokens), own]

    def _continued(self, kept: _Kept, ids: list[int]) -> tuple[Cache, int]:
        """Return the document's cache, to go on from, and how much of the prompt is in it.

        Where the prompt begins otherwise, it is an empty one.
        """
        n_kept = len(kept.ids)
        if ids[:n_kept] != kept.ids or n_kept >= len(ids):
            return lambda_cache(self.decoder, self.shape), 0
        return branch(kept.cache), n_kept

    @torch.inference_mode()
    def _feed(self, cache: Cache, ids: list[int], n_logits: int = 0) -> list[Tensor]:
        """Read token ids after what a cache holds.

        Return the last `n_logits` logits, in pieces of (n, vocab).
        """
        logits = []
        for start in range(0, len(ids), self.piece_tokens):
            stop = min(start + self.piece_tokens, len(ids))
            piece = torch.tensor([ids[start:stop]], device=self.decoder.device)  # (1, n)
            # How many of this piece's tokens are among the last `n_logits` of all; below 1 none is.
            n_wanted = min(stop - start, stop - (len(ids) - n_logits))
            output = self.decoder(
                input_ids=piece,
                use_cache=True,
                # To keep 0 logits means to the library to keep them all.
                logits_to_keep=max(1, n_wanted),
                **{cache_argument(): cache},
            )
            if n_wanted > 0:
                logits.append(output.logits[0])  # (n_wanted, vocab)
        return logits

    def _flops(self, n_before: int, n_new: int, piece: int) -> int:
        """Count the operations of reading `n_new` tokens in pieces.

        The second look at the first tokens, which is small, is left out.
        """
        end = n_before + n_new
        starts = range(n_before, end, piece)
        sizes = [(min(piece, end - start), self.shape.n_kept(start)) for start in starts]
        products = sum(size * (n_kept + size) for size, n_kept in sizes)
        # The head runs for one token of every piece.
        heads = self.decoder.get_output_embeddings().weight.numel() * len(sizes)
        linear = 2 * (linear_weights(self.decoder) * max(0, n_new) + heads)
        return linear + attention_flops(self.decoder, 1, products)
