"""What a machine can give, its memory and speed, and whether that is enough."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from e2llm.engines import Generation, Sampling
from e2llm.engines.transformers import TransformersEngine
from e2llm.errors import WindowError
from e2llm.methods.base import Method
from e2llm.model.operations import decoder_flops
from e2llm.pair import E2LLM


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

    def refusal(self, method: Method, n_tokens: int, max_new_tokens: int) -> str | None:
        """Say in words why a method cannot read a document here; None where it can.

        Args:
            method: What reads it.
            n_tokens: Tokens of the document.
            max_new_tokens: Room for the answer, in positions.
        """
        try:
            needs = method.needs(n_tokens, max_new_tokens)
        except WindowError as error:
            return str(error)
        for need in needs:
            seconds = need.flops / self.flops_per_s + need.n_written * self.token_s
            if reason := self.judge(need.n_bytes, seconds):
                return reason
        return None

    def judge(self, n_bytes: float, seconds: float) -> str | None:
        """Say in words why what needs so much memory and time cannot run; None where it can."""
        # Memory first: what does not fit would not be slow, it would be killed.
        if n_bytes > self.free_bytes:
            needed, free = n_bytes / 2**30, self.free_bytes / 2**30
            return f"memory: it needs about {needed:.1f} GiB and {free:.1f} GiB are free"
        if seconds > self.limit_s:
            return f"time: it needs about {seconds:,.0f} s and the limit is {self.limit_s:,.0f} s"
        return None

    @classmethod
    def measure(cls, pair: E2LLM, limit_s: float) -> "Machine":
        """Measure this machine with a prompt of 256 positions and answers of 1 and 9 tokens.

        That is done twice: the first time warms up.
        """
        decoder = pair.base.decoder
        ids = torch.arange(256, device=decoder.device)  # (seq,)
        embeddings = decoder.get_input_embeddings()(ids)  # (seq, d_dec)
        # The first time warms up: kernels are chosen and memory is taken.
        for _ in range(2):
            seconds = []
            for n_tokens in (1, 9):
                engine = TransformersEngine(decoder, pair.processor.tokenizer)
                start_s = time.perf_counter()
                for _ in engine.stream(embeddings, Sampling(max_new_tokens=n_tokens), Generation()):
                    pass
                seconds.append(time.perf_counter() - start_s)
        flops_per_s = decoder_flops(decoder, 256) / seconds[0]
        # The eight tokens that the longer answer has more.
        token_s = max(0.0, seconds[1] - seconds[0]) / 8
        return cls(free_bytes(), flops_per_s, token_s, limit_s)


@dataclass(frozen=True)
class Noting(Machine):
    """A machine that notes what it is asked for, so that work can be estimated before it is done.

    Attributes:
        asked_s: Seconds asked for, one after the other.
    """

    asked_s: list[float] = field(default_factory=list)

    def judge(self, n_bytes: float, seconds: float) -> str | None:
        """As a machine does, and note the seconds."""
        self.asked_s.append(seconds)
        return super().judge(n_bytes, seconds)


def free_bytes() -> float:
    """Return the free memory of the accelerator, else of the machine; else infinite."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return float("inf")
    return next(
        (int(line.split()[1]) * 1024.0 for line in lines if line.startswith("MemAvailable:")),
        float("inf"),
    )


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Put the block's peak memory in bytes into the list that is yielded.

    It is the accelerator's, else the process's; nothing where neither can tell.
    """
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
            peak.append(
                next(
                    int(line.split()[1]) * 1024
                    for line in status.read_text().splitlines()
                    if line.startswith("VmHWM:")
                )
            )
