"""Run methods on benchmarks, one cell after the other, and keep each result as soon as it is there."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from e2llm.benchmarks import BENCHMARKS, Benchmark
from e2llm.benchmarks.base import SCALES, Sample
from e2llm.benchmarks.data import CHARS_PER_TOKEN, Data
from e2llm.checks import check_choice, check_count
from e2llm.chunking.chunker import make_spans
from e2llm.errors import E2LLMError, MissingPackageError, UserError
from e2llm.evaluation.costs import Machine, Noting, peak_memory
from e2llm.evaluation.metrics import measure
from e2llm.evaluation.results import FIXED, Cell, Writer, key, read_results, where
from e2llm.methods import METHODS, Method, make_method
from e2llm.methods.base import Reading
from e2llm.model.digest import digest_weights
from e2llm.pair import E2LLM


@dataclass
class Outcome:
    """What a run did.

    Attributes:
        path: Its file.
        n_done, n_skipped, n_kept: Cells that ran, that could not run here, and that were there
            before.
        missing: Names of methods and benchmarks that could not be had, and why.
    """

    path: Path
    n_done: int = 0
    n_skipped: int = 0
    n_kept: int = 0
    missing: dict[str, str] = field(default_factory=dict)


def evaluate(
    pair: E2LLM,
    methods: Sequence[str],
    benchmarks: Sequence[str],
    output: Path,
    scale: str = "quick",
    seed: int = 0,
    data: Data | None = None,
    limit_s: float = 600.0,
    progress: Callable[[float, float, str], None] | None = None,
    samples: int | None = None,
) -> Outcome:
    """Run every method on every sample of every benchmark; cells that `output` holds already are
    left out.

    Args:
        pair: The pair whose decoder all methods use.
        methods: Names in `methods.METHODS`, with hyper-parameters after colons where wanted.
        benchmarks: Names in `benchmarks.BENCHMARKS`.
        output: Folder of results; a new file is written there.
        scale: "quick" or "full".
        seed: Of the choice of samples.
        data: Local data sets.
        limit_s: Longest that one document with one question may take, as predicted.
        progress: Called with the predicted seconds of what is done and of all, and what comes next.
        samples: Most samples of each length that a benchmark sets, or of all where it sets none,
            drawn by the seed; a larger number keeps those of a smaller one, so that a run can be
            widened. None for all of the scale.

    Raises:
        UserError: A name is unknown, `samples` is below 1, or `output` holds results of another
            model, scale or seed.
    """
    check_names(methods, benchmarks, scale)
    if samples is not None:
        check_count("samples", samples, 1, "sample")
    chosen = [BENCHMARKS[name] for name in benchmarks]
    missing: dict[str, str] = {}
    made = {
        spec: method
        for spec in methods
        if (method := _or_missing(missing, spec, partial(make_method, spec, pair))) is not None
    }
    run = {"model": pair.name, "digest": digest_weights(pair.base), "scale": scale, "seed": seed}
    done = _done(output, run)
    data = data or Data()
    loaded = {
        benchmark: draw(found, samples, seed, benchmark.length_group)
        for benchmark in chosen
        if (
            found := _or_missing(
                missing, benchmark.name, partial(_load, benchmark, scale, seed, data)
            )
        )
        is not None
    }
    run |= {
        "methods": {
            spec: {"role": method.role, "settings": method.settings}
            for spec, method in made.items()
        },
        "benchmarks": [benchmark.name for benchmark in chosen],
        "samples": samples,
        "pair": {
            name: getattr(pair.config, name)
            for name in (
                "encoder_name",
                "decoder_name",
                "adapter",
                "pooling",
                "ratio",
                "expand",
                "trained",
            )
        },
        "dtype": str(pair.base.dtype).removeprefix("torch."),
        "device": str(pair.base.device),
        "threads": torch.get_num_threads(),
        **where(),
    }
    with Writer(output, run) as writer:
        outcome = Outcome(writer.path, missing=missing)
        for name, reason in missing.items():
            writer.write("missing", {"name": name, "reason": reason})
        machine = Machine.measure(pair, limit_s)
        work = []
        for benchmark, found in loaded.items():
            for _, own in groupby(found, key=lambda sample: sample.document):
                about = list(own)
                for spec, method in made.items():
                    wanted = [
                        sample
                        for sample in about
                        if key(_cell(spec, method, benchmark, sample)) not in done
                    ]
                    outcome.n_kept += len(about) - len(wanted)
                    if wanted:
                        work.append((benchmark, wanted, spec, method))
        n_tokens = lru_cache(maxsize=1)(lambda document: len(pair.processor.text_ids(document)))
        seconds = [
            _predict(method, benchmark, wanted, machine) for benchmark, wanted, _, method in work
        ]
        done_s, all_s = 0.0, sum(seconds)
        for (benchmark, wanted, spec, method), own_s in zip(work, seconds, strict=True):
            if progress is not None:
                progress(done_s, all_s, f"{benchmark.name}: {spec}")
            done_s += own_s
            for cell in _run(spec, method, benchmark, wanted, n_tokens, machine):
                writer.write("cell", cell)
                outcome.n_skipped += "skipped" in cell
                outcome.n_done += "skipped" not in cell
        if progress is not None:
            progress(all_s, all_s, "done")
    return outcome


def check_names(methods: Sequence[str], benchmarks: Sequence[str], scale: str) -> None:
    """Raise `UserError` with the nearest name where one is unknown; hyper-parameters are checked
    when a method is made.
    """
    for spec in methods:
        check_choice("methods", spec.partition(":")[0], list(METHODS))
    for name in benchmarks:
        check_choice("benchmarks", name, list(BENCHMARKS))
    check_choice("scale", scale, SCALES)


def draw(samples: list[Sample], n: int | None, seed: int, group: str) -> list[Sample]:
    """Draw at most `n` samples that share a group, or of all that have none; in order, and a larger
    `n` draws the same and more.
    """
    if n is None:
        return samples
    places: dict[Any, list[int]] = {}
    for place, sample in enumerate(samples):
        places.setdefault(sample.groups.get(group), []).append(place)
    drawn: set[int] = set()
    for own in places.values():
        random.Random(seed).shuffle(own)
        drawn.update(own[:n])
    return [sample for place, sample in enumerate(samples) if place in drawn]


def _load(benchmark: Benchmark, scale: str, seed: int, data: Data) -> list[Sample]:
    measure(
        benchmark.metrics, "word", ("word",)
    )  # a metric whose package is missing is told now, not with every cell
    return benchmark.load(scale, seed, data)


def _or_missing(missing: dict[str, str], name: str, make: Callable[[], Any]) -> Any:
    """Return what is made, or note why it cannot be had; a mistake in a name is still one."""
    try:
        return make()
    except E2LLMError as error:
        if isinstance(error, UserError) and not isinstance(error, MissingPackageError):
            raise
        missing[name] = str(error)
        return None


def _done(output: Path, run: dict[str, Any]) -> set[str]:
    """Return the keys of the cells that a folder holds already."""
    if not output.is_dir() or not any(output.iterdir()):
        return set()
    results = read_results(output)
    for before in results.runs:
        for name in FIXED:
            if before[name] != run[name]:
                raise UserError(
                    f"`output` (={output}) holds results of {name} {before[name]}, and this "
                    f"run's is {run[name]}; name another folder."
                )
    return {key(cell) for cell in results.cells}


def _cell(spec: str, method: Method, benchmark: Benchmark, sample: Sample) -> Cell:
    settings = json.loads(json.dumps(method.settings))
    return {
        "method": spec,
        "settings": settings,
        "benchmark": benchmark.name,
        "sample": sample.id,
        "digest": sample.digest,
    }


def _predict(
    method: Method, benchmark: Benchmark, samples: list[Sample], machine: Machine
) -> float:
    """Predict the seconds of samples that share a document, should every answer be as long as it
    may.
    """
    noting = Noting(machine.free_bytes, machine.flops_per_s, machine.token_s, machine.limit_s)
    longest = max(map(benchmark.longest_answer, samples))
    if noting.refusal(method, len(samples[0].document) // CHARS_PER_TOKEN, longest) is not None:
        return 0.0
    return sum(noting.asked_s) + (len(samples) - 1) * longest * machine.token_s


def _run(
    spec: str,
    method: Method,
    benchmark: Benchmark,
    samples: list[Sample],
    count_tokens: Callable[[str], int],
    machine: Machine,
) -> Iterator[Cell]:
    """Yield the cells of samples that share a document, which is read once."""
    n_tokens = count_tokens(samples[0].document)
    longest = max(map(benchmark.longest_answer, samples))
    skipped = machine.refusal(method, n_tokens, longest)
    reading, read_bytes = None, [0]
    if skipped is None:
        try:
            with peak_memory() as read_bytes:
                reading = method.read(samples[0].document)
        except Exception as error:
            skipped = _reason(error)
    for sample in samples:
        cell = _cell(spec, method, benchmark, sample)
        cell |= {
            "groups": {**sample.groups, "bucket": benchmark.bucket(n_tokens)},
            "n_tokens": n_tokens,
        }
        if reading is None:
            yield cell | {"skipped": skipped}
            continue
        try:
            yield cell | _answer(method, benchmark, sample, reading, read_bytes)
        except Exception as error:
            yield cell | {"skipped": _reason(error)}


def _answer(
    method: Method, benchmark: Benchmark, sample: Sample, reading: Reading, read_bytes: list[int]
) -> Cell:
    with peak_memory() as answer_bytes:
        result = method.answer(reading, sample.question, benchmark.longest_answer(sample))
    scores = measure(benchmark.metrics, result.text, sample.answers)
    positions: Cell = {}
    if benchmark.perplexity:
        nats = method.score(reading, sample.question, sample.answers[0])
        scores["nats"] = float(nats.mean())
        if benchmark.by_position:
            starts = [
                len(method.pair.processor.text_ids(sample.document[:start]))
                for start, _ in make_spans(sample.document, method.chunker)
            ]
            positions = {
                "token_nats": [round(value, 3) for value in nats.tolist()],
                "chunk_starts": starts,
            }
    cost = {name: value for name, value in vars(result).items() if name != "text"}
    peak = max([*read_bytes, *answer_bytes], default=None)
    return {
        "answer": result.text,
        "scores": scores,
        "read_s": reading.seconds,
        "read_flops": reading.flops,
        **cost,
        "peak_bytes": peak,
        **positions,
    }


def _reason(error: Exception) -> str:
    """Return in words why a cell could not run; what is no limit of method or machine is raised
    again.
    """
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and "memory" in str(error) and "alloca" in str(error)
    ):
        return "memory: it ran out, although the estimate fitted"
    if isinstance(error, E2LLMError):
        return " ".join(str(error).split())
    raise error
