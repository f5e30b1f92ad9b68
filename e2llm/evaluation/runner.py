"""Run methods on benchmarks, and keep each result as soon as it is there."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from e2llm.benchmarks import BENCHMARKS, Benchmark
from e2llm.benchmarks.base import SCALES, Sample
from e2llm.benchmarks.data import Data
from e2llm.checks import check_choice, check_count
from e2llm.errors import E2LLMError, MissingPackageError, UserError
from e2llm.evaluation.costs import Machine
from e2llm.evaluation.jobs import Job, cell_of
from e2llm.evaluation.metrics import measure
from e2llm.evaluation.results import FIXED, Writer, key, read_results, where
from e2llm.methods import METHODS, Method, make_method
from e2llm.model.digest import digest_weights
from e2llm.pair import E2LLM

# What a file of results says of the pair.
PAIR_FIELDS = (
    "encoder_name",
    "decoder_name",
    "adapter",
    "pooling",
    "ratio",
    "expand",
    "trained",
)


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
    """Run every method on every sample of every benchmark; leave out what `output` holds already.

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
    missing: dict[str, str] = {}
    # Methods first: a mistake in a hyper-parameter is told before any data is read.
    made = _made(methods, pair, missing)
    run = {"model": pair.name, "digest": digest_weights(pair.base), "scale": scale, "seed": seed}
    # Before the data is loaded, which can take minutes: a folder of another run is refused.
    done = _done(output, run)
    loaded = _loaded(benchmarks, scale, seed, data or Data(), samples, missing)
    run |= _facts(pair, made, benchmarks, samples)
    # A new file for every run: what is there is never rewritten.
    with Writer(output, run) as writer:
        outcome = Outcome(writer.path, missing=missing)
        # What could not be had is part of the results, so that a report can say so.
        for name, reason in missing.items():
            writer.write("missing", {"name": name, "reason": reason})
        jobs, outcome.n_kept = _jobs(made, loaded, done)
        machine = Machine.measure(pair, limit_s)
        _run(jobs, pair, machine, writer, outcome, progress)
    return outcome


def _made(methods: Sequence[str], pair: E2LLM, missing: dict[str, str]) -> dict[str, Method]:
    """Make the methods; note those that cannot be had."""
    made = {spec: _or_missing(missing, spec, partial(make_method, spec, pair)) for spec in methods}
    return {spec: method for spec, method in made.items() if method is not None}


def _loaded(
    benchmarks: Sequence[str],
    scale: str,
    seed: int,
    data: Data,
    samples: int | None,
    missing: dict[str, str],
) -> dict[Benchmark, list[Sample]]:
    """Load the samples of every benchmark; note those that cannot be had."""
    loaded = {}
    for benchmark in (BENCHMARKS[name] for name in benchmarks):
        load = partial(_load, benchmark, scale, seed, data)
        found = _or_missing(missing, benchmark.name, load)
        if found is not None:
            loaded[benchmark] = draw(found, samples, seed, benchmark.length_group)
    return loaded


def _facts(
    pair: E2LLM, made: dict[str, Method], benchmarks: Sequence[str], samples: int | None
) -> dict[str, Any]:
    """Say what is run, on what pair and machine."""
    return {
        "methods": {
            spec: {"role": method.role, "settings": method.settings}
            for spec, method in made.items()
        },
        "benchmarks": [BENCHMARKS[name].name for name in benchmarks],
        "samples": samples,
        "pair": {name: getattr(pair.config, name) for name in PAIR_FIELDS},
        "dtype": str(pair.base.dtype).removeprefix("torch."),
        "device": str(pair.base.device),
        "threads": torch.get_num_threads(),
        **where(),
    }


def _jobs(
    made: dict[str, Method], loaded: dict[Benchmark, list[Sample]], done: set[str]
) -> tuple[list[Job], int]:
    """Return what is to be run, document by document, and how many cells are there already."""
    jobs, n_kept = [], 0
    for benchmark, found in loaded.items():
        # Samples about one document stand together, so that a method reads it once.
        for _, own in groupby(found, key=lambda sample: sample.document):
            about = list(own)
            for spec, method in made.items():
                wanted = [
                    sample
                    for sample in about
                    if key(cell_of(spec, method, benchmark, sample)) not in done
                ]
                n_kept += len(about) - len(wanted)
                if wanted:
                    jobs.append(Job(spec, method, benchmark, wanted))
    return jobs, n_kept


def _run(
    jobs: Sequence[Job],
    pair: E2LLM,
    machine: Machine,
    writer: Writer,
    outcome: Outcome,
    progress: Callable[[float, float, str], None] | None,
) -> None:
    """Run one job after the other; write and count every cell as soon as it is there."""
    # Methods take turns on a document, so that its tokens are counted once.
    n_tokens = lru_cache(maxsize=1)(lambda document: len(pair.processor.text_ids(document)))
    # All at once before the first, so that the progress bar knows its end.
    seconds = [job.seconds(machine) for job in jobs]
    done_s, all_s = 0.0, sum(seconds)
    for job, own_s in zip(jobs, seconds, strict=True):
        if progress is not None:
            progress(done_s, all_s, f"{job.benchmark.name}: {job.spec}")
        done_s += own_s
        for cell in job.run(n_tokens, machine):
            writer.write("cell", cell)
            outcome.n_skipped += "skipped" in cell
            outcome.n_done += "skipped" not in cell
    if progress is not None:
        progress(all_s, all_s, "done")


def check_names(methods: Sequence[str], benchmarks: Sequence[str], scale: str) -> None:
    """Raise `UserError` with the nearest name where one is unknown.

    Hyper-parameters are checked when a method is made.
    """
    for spec in methods:
        check_choice("methods", spec.partition(":")[0], list(METHODS), "e2llm.methods.METHODS")
    for name in benchmarks:
        check_choice("benchmarks", name, list(BENCHMARKS), "e2llm.benchmarks.BENCHMARKS")
    check_choice("scale", scale, SCALES)


def draw(samples: list[Sample], n: int | None, seed: int, group: str) -> list[Sample]:
    """Draw at most `n` samples that share a group, or of all that have none, in order.

    A larger `n` draws the same and more.
    """
    if n is None:
        return samples
    places: dict[Any, list[int]] = {}
    for place, sample in enumerate(samples):
        places.setdefault(sample.groups.get(group), []).append(place)
    drawn: set[int] = set()
    # Each group has a shuffle of its own, so a longer draw begins as a shorter one does.
    for own in places.values():
        random.Random(seed).shuffle(own)
        drawn.update(own[:n])
    return [sample for place, sample in enumerate(samples) if place in drawn]


def _load(benchmark: Benchmark, scale: str, seed: int, data: Data) -> list[Sample]:
    # A metric whose package is missing is told now, not with every cell.
    measure(benchmark.metrics, "word", ("word",))
    return benchmark.load(scale, seed, data)


def _or_missing(missing: dict[str, str], name: str, make: Callable[[], Any]) -> Any:
    """Return what is made, or note why it cannot be had; a mistake in a name is still one."""
    try:
        return make()
    except E2LLMError as error:
        # A missing package is a UserError too, but no mistake: the rest can run without it.
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
            # Cells of another model, scale or seed would be averaged with these.
            if before[name] != run[name]:
                raise UserError(
                    f"`output` (={output}) holds results of {name} {before[name]}, and this "
                    f"run's is {run[name]}; name another folder."
                )
    return {key(cell) for cell in results.cells}
