"""What tables and figures take from cells: scores, costs, groups, methods.

No torch here.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from e2llm.evaluation.metrics import SUMMARIES, summarise, summary_names
from e2llm.evaluation.names import names_of
from e2llm.evaluation.results import Cell, Results

N_PLACES = 20  # places inside a chunk that are told apart
# Costs that grow with the document: what they are called, and how to take them from a cell.
COSTS: dict[str, Callable[[Cell], float | None]] = {
    "seconds to read": lambda cell: cell["read_s"],
    "seconds to first token": lambda cell: cell["first_token_s"],
    "decoder positions": lambda cell: cell["positions"],
    "peak memory, GiB": lambda cell: cell["peak_bytes"] and cell["peak_bytes"] / 2**30,
    "GFLOP": lambda cell: (cell["read_flops"] + cell["flops"]) / 1e9,
}


@dataclass(frozen=True)
class Value:
    """A number with the ends of its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


class MeasuredMethod(NamedTuple):
    """A method that results have: its specification, its name for people, and its role."""

    spec: str
    name: str
    role: str

    def cells(self, cells: Iterable[Cell]) -> list[Cell]:
        """Return those of the cells that are this method's."""
        return [cell for cell in cells if cell["method"] == self.spec]


def methods_of(results: Results) -> list[MeasuredMethod]:
    """Return every method once, in the order of the runs."""
    roles = {spec: facts["role"] for run in results.runs for spec, facts in run["methods"].items()}
    names = names_of(roles)
    return [MeasuredMethod(spec, names[spec], role) for spec, role in roles.items()]


def of_benchmark(name: str, results: Results) -> list[Cell]:
    """Return the cells of a benchmark."""
    return [cell for cell in results.cells if cell["benchmark"] == name]


def measured(cells: Iterable[Cell]) -> list[Cell]:
    """Return the cells that ran."""
    return [cell for cell in cells if "skipped" not in cell]


def place_cells(results: Results) -> list[Cell]:
    """Return the cells that know the nats of every token of a restated document."""
    return [cell for cell in results.cells if "token_nats" in cell]


def variant_of(cell: Cell) -> tuple[str, ...]:
    """Return the ablation that a cell is of and its value; nothing where it is of none.

    `ablate` names its pairs so.
    """
    # Such as "expand=4".
    named = re.match(r"([a-z-]+)=(\S+)", cell.get("model") or "")
    return named.groups() if named else ()


def sample_key(cell: Cell) -> tuple[str, str]:
    """Return what tells a sample from every other: seeds share names."""
    return cell["sample"], cell["digest"]


def groups_of(cells: Sequence[Cell]) -> list[str]:
    """Return the groups by which samples differ, such as "depth"."""
    names = ordered(name for cell in cells for name in cell["groups"])
    # A group with one value would be a column that says what the table says.
    differing = [name for name in names if len({cell["groups"].get(name) for cell in cells}) > 1]
    return [name for name in differing if name != "bucket" or "length" not in differing]


def group_key(value: object) -> tuple:
    """Sort numbers as numbers, buckets such as "6-12K" by where they begin, and none at the end."""
    for number in (str(value), str(value).replace("K", "").replace("+", "").split("-")[0]):
        try:
            return (0, float(number), "")
        except ValueError:
            continue
    return (1, 0.0, str(value))


def ordered(names: Iterable[Any]) -> list[Any]:
    """Return each once, in the order in which they first come."""
    return list(dict.fromkeys(names))


def score_names(cells: Sequence[Cell]) -> list[str]:
    """Return what can be summarised of a benchmark's cells."""
    return summary_names(next((list(cell["scores"]) for cell in measured(cells)), []))


def main_score(cells: Sequence[Cell]) -> str | None:
    """Return what a benchmark is known by: ROUGE's G-mean, else F1, else its first score."""
    names = score_names(cells)
    return next((name for name in ("gmean", "f1", *names) if name in names), None)


def score_of(name: str, cells: Sequence[Cell], seed: int) -> Value | None:
    """Summarise a score over the cells that have it; None where none has."""
    samples = list(scores_by_sample(name, cells).values())
    return Value(*summarise(name, samples, seed)) if samples else None


def scores_by_sample(name: str, cells: Sequence[Cell]) -> dict[tuple[str, ...], dict[str, float]]:
    """Return the scores of the cells that have what a summary needs, by method and sample."""
    needed = SUMMARIES.get(name, ((name,), None))[0]
    return {
        (cell["method"], *sample_key(cell)): cell["scores"]
        for cell in measured(cells)
        if all(score in cell["scores"] for score in needed)
    }


def nats_by_place(cell: Cell) -> list[np.ndarray]:
    """Return the nats of a cell's tokens by place inside their chunk, in twentieths."""
    nats = np.array(cell["token_nats"])  # (n_tokens,)
    parts = [np.zeros(0)] * N_PLACES
    for start, end in pairwise([*cell["chunk_starts"], len(nats)]):
        # (chunk_len,), from 0 to N_PLACES - 1; a chunk of fewer tokens leaves places out
        places = np.arange(end - start) * N_PLACES // max(1, end - start)
        parts = [
            np.append(part, nats[start:end][places == place]) for place, part in enumerate(parts)
        ]
    return parts
