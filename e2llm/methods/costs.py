"""What reading and answering take: floating-point operations and memory, from the configuration and the weights' shapes.

A multiply and an add are two operations. Attention counts as the library's counter does (`torch.utils.flop_counter`): every query times every
key, although a causal kernel skips some; `tests/methods/test_costs.py` holds the two against each other.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from e2llm.answering import E2LLM
from e2llm.chunking import SpanMaker, make_spans
from e2llm.engines import Generation, Sampling
from e2llm.engines.transformers import TransformersEngine


def linear_weights(model: Any) -> int:
    """Count the weights that multiply every token: those of the linear layers, without the head."""
    head = model.get_output_embeddings()
    return sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear | Conv1D) and module is not head)


def decoder_flops(decoder: Any, n_new: int, n_before: int = 0, n_logits: int = 1) -> int:
    """Count the operations of reading `n_new` positions after `n_before` in the cache, and of the head at `n_logits` of them."""
    heads = decoder.get_output_embeddings().weight.numel() * n_logits
    return 2 * (linear_weights(decoder) * n_new + heads) + _attention_flops(decoder, n_new, n_before + n_new)


def writing_flops(decoder: Any, n_prompt: int, n_tokens: int) -> int:
    """Count the operations of writing `n_tokens` after a prompt, of which the prompt itself gives the first."""
    steps = max(0, n_tokens - 1)
    keys = steps * n_prompt + steps * (steps + 1) // 2
    return decoder_flops(decoder, steps, 0, steps) - _attention_flops(decoder, steps, steps) + _attention_flops(decoder, 1, keys)


def encoder_flops(pair: E2LLM, text: str, chunker: SpanMaker) -> int:
    """Count the operations of the encoder on a text; padding and the adapter, which is small, are left out."""
    encoder = pair.base.encoder
    rows = pair.processor.encoder_rows(text, make_spans(text, chunker), pair.config.window_chunks)
    lengths = [len(row.input_ids) for row in rows]
    return 2 * linear_weights(encoder) * sum(lengths) + sum(_attention_flops(encoder, length, length) for length in lengths)


def decoder_bytes(decoder: Any, positions: int) -> int:
    """Estimate the memory that a decoder needs for a prompt beside its weights: the cache, and the widest activations of one layer."""
    config = decoder.config.get_text_config()
    heads, head_dim = head_shape(config)
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    return positions * decoder.dtype.itemsize * (2 * config.num_hidden_layers * kv_heads * head_dim + 4 * config.hidden_size + 3 * inner)


def _attention_flops(model: Any, n_queries: int, n_keys: int) -> int:
    config = model.config.get_text_config()
    heads, head_dim = head_shape(config)
    return 4 * config.num_hidden_layers * heads * head_dim * n_queries * n_keys


def head_shape(config: Any) -> tuple[int, int]:
    """Return how many attention heads a decoder has, and how wide one is."""
    heads = config.num_attention_heads
    return heads, getattr(config, "head_dim", None) or config.hidden_size // heads


@dataclass(frozen=True)
class Machine:
    """What a machine can give, so that what cannot run is told before it is tried.

    Attributes:
        free_bytes: Memory that is free.
        flops_per_s: Operations per second that the decoder reaches on a prompt.
        token_s: Seconds for each token that it writes.
        limit_s: Longest that a document with one question may take.
    """

    free_bytes: float = float("inf")
    flops_per_s: float = float("inf")
    token_s: float = 0.0
    limit_s: float = float("inf")

    def refusal(self, n_bytes: float = 0, seconds: float = 0) -> str | None:
        """Say in words why what needs so much memory or time cannot run; None where it can."""
        if n_bytes > self.free_bytes:
            return f"memory: it needs about {n_bytes / 2**30:.1f} GiB and {self.free_bytes / 2**30:.1f} GiB are free"
        if seconds > self.limit_s:
            return f"time: it needs about {seconds:,.0f} s and the limit is {self.limit_s:,.0f} s"
        return None

    @classmethod
    def measure(cls, pair: E2LLM, limit_s: float) -> "Machine":
        """Measure this machine with a prompt of 256 positions and answers of 1 and 9 tokens, twice; the first time warms up."""
        decoder = pair.base.decoder
        embeddings = decoder.get_input_embeddings()(torch.arange(256, device=decoder.device))
        for _ in range(2):
            seconds = []
            for n_tokens in (1, 9):
                engine, start_s = TransformersEngine(decoder, pair.processor.tokenizer), time.perf_counter()
                for _ in engine.stream(embeddings, Sampling(max_new_tokens=n_tokens), Generation()):
                    pass
                seconds.append(time.perf_counter() - start_s)
        return cls(free_bytes(), decoder_flops(decoder, 256) / seconds[0], max(0.0, seconds[1] - seconds[0]) / 8, limit_s)


@dataclass(frozen=True)
class Noting(Machine):
    """A machine that notes what it is asked for, so that work can be estimated before it is done.

    Attributes:
        asked_s: Seconds asked for, one after the other.
    """

    asked_s: list[float] = field(default_factory=list)

    def refusal(self, n_bytes: float = 0, seconds: float = 0) -> str | None:
        """As a machine does, and note the seconds."""
        self.asked_s.append(seconds)
        return super().refusal(n_bytes, seconds)


def free_bytes() -> float:
    """Return the memory that is free on the accelerator, or on the machine where there is none; infinite where nobody can tell."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return float("inf")
    return next((int(line.split()[1]) * 1024.0 for line in lines if line.startswith("MemAvailable:")), float("inf"))


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Put the block's peak memory into the list that is yielded, in bytes: the accelerator's, else the process's; nothing where neither can tell."""
    peak: list[int] = []
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    try:
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        elif reset.exists():
            reset.write_text("5")  # the kernel then counts the peak from here on
        yield peak
    finally:
        if torch.cuda.is_available():
            peak.append(torch.cuda.max_memory_allocated())
        elif reset.exists():
            peak.append(next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM:")))
