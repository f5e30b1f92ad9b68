"""One document read by one method: its cells, and how long they will take."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from e2llm.benchmarks import Benchmark
from e2llm.benchmarks.base import Sample
from e2llm.benchmarks.data import CHARS_PER_TOKEN
from e2llm.chunking.chunker import make_spans
from e2llm.errors import E2LLMError
from e2llm.evaluation.costs import Machine, Noting, peak_memory
from e2llm.evaluation.metrics import measure
from e2llm.evaluation.results import Cell
from e2llm.methods import Method
from e2llm.methods.base import Reading


@dataclass(frozen=True)
class Job:
    """Samples of a benchmark that share a document, for one method.

    Attributes:
        spec: The method's name with its hyper-parameters.
        method: It.
        benchmark: What the samples are of.
        samples: At least one.
    """

    spec: str
    method: Method
    benchmark: Benchmark
    samples: Sequence[Sample]

    @property
    def longest(self) -> int:
        """Room for the longest answer, in positions."""
        return max(map(self.benchmark.longest_answer, self.samples))

    def seconds(self, machine: Machine) -> float:
        """Predict the seconds, should every answer be as long as it may."""
        # The rehearsal asks for no memory and writes nothing; it only adds up what is asked for.
        noting = Noting(machine.free_bytes, machine.flops_per_s, machine.token_s, machine.limit_s)
        # Counting the tokens of all documents would take longer than the estimate is worth.
        n_tokens = len(self.samples[0].document) // CHARS_PER_TOKEN
        if noting.refusal(self.method, n_tokens, self.longest) is not None:
            return 0.0
        # What was noted has one question; the others cost their answers alone.
        return sum(noting.asked_s) + (len(self.samples) - 1) * self.longest * machine.token_s

    def run(self, count_tokens: Callable[[str], int], machine: Machine) -> Iterator[Cell]:
        """Yield a cell for every sample; the document is read once."""
        document = self.samples[0].document
        n_tokens = count_tokens(document)
        # Refused here, a cell costs nothing; tried, it could take the process down with it.
        skipped = machine.refusal(self.method, n_tokens, self.longest)
        reading, read_bytes = None, [0]
        if skipped is None:
            try:
                with peak_memory() as read_bytes:
                    reading = self.method.read(document)
            except Exception as error:
                skipped = _reason(error)
        for sample in self.samples:
            cell = cell_of(self.spec, self.method, self.benchmark, sample)
            groups = {**sample.groups, "bucket": self.benchmark.bucket(n_tokens)}
            cell |= {"groups": groups, "n_tokens": n_tokens}
            if reading is None:
                yield cell | {"skipped": skipped}
                continue
            try:
                yield cell | self._answer(sample, reading, read_bytes)
            except Exception as error:
                yield cell | {"skipped": _reason(error)}

    def _answer(self, sample: Sample, reading: Reading, read_bytes: list[int]) -> Cell:
        """Return an answer, its scores and what it took."""
        with peak_memory() as answer_bytes:
            result = self.method.answer(
                reading, sample.question, self.benchmark.longest_answer(sample)
            )
        # After the peak is taken, so that the metrics' memory is not counted.
        scores = measure(self.benchmark.metrics, result.text, sample.answers)
        positions: Cell = {}
        if self.benchmark.perplexity:
            nats = self.method.score(reading, sample.question, sample.answers[0])  # (n_tokens,)
            scores["nats"] = float(nats.mean())
            if self.benchmark.by_position:
                positions["token_nats"] = [round(value, 3) for value in nats.tolist()]
                positions["chunk_starts"] = self._chunk_starts(sample.document)
        return {
            "answer": result.text,
            "scores": scores,
            "read_s": reading.seconds,
            "read_flops": reading.flops,
            **{name: value for name, value in vars(result).items() if name != "text"},
            "peak_bytes": max([*read_bytes, *answer_bytes], default=None),
            **positions,
        }

    def _chunk_starts(self, document: str) -> list[int]:
        """Return where the document's chunks begin, in tokens."""
        text_ids = self.method.pair.processor.text_ids
        spans = make_spans(document, self.method.chunker)
        return [len(text_ids(document[:start])) for start, _ in spans]


def cell_of(spec: str, method: Method, benchmark: Benchmark, sample: Sample) -> Cell:
    """Return what tells a cell from every other, which is known before it has run."""
    # As they will be when they are read again: tuples become lists.
    settings: dict[str, Any] = json.loads(json.dumps(method.settings))
    return {
        "method": spec,
        "settings": settings,
        "benchmark": benchmark.name,
        "sample": sample.id,
        "digest": sample.digest,
    }


def _reason(error: Exception) -> str:
    """Return in words why a cell could not run.

    What is no limit of method or machine is raised again.
    """
    # PyTorch tells of memory by a RuntimeError whose words differ from device to device.
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and "memory" in str(error) and "alloca" in str(error)
    ):
        return "memory: it ran out, although the estimate fitted"
    if isinstance(error, E2LLMError):
        return " ".join(str(error).split())
    raise error
