"""Tables of the report, made of cells and written as Markdown, LaTeX, CSV and HTML.

No torch here.
"""

import csv
import html
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from e2llm.evaluation.metrics import (
    SUMMARIES,
    difference,
    growth_exponent,
    retention,
    summarise,
    summary_names,
)
from e2llm.evaluation.results import Cell, Results

NO_VALUE = "–"
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


Content = Value | float | int | str | None


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: Of its files.
        title: What stands above it.
        columns: Heads of the columns; the first holds methods.
        rows: As many entries as there are columns.
        note: What stands below it.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Content, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        """Return the table in Markdown."""
        lines = [
            self.columns,
            ["---"] * len(self.columns),
            *([show(content).replace("|", "\\|") for content in row] for row in self.rows),
        ]
        return (
            f"### {self.title}\n\n"
            + "".join(f"| {' | '.join(line)} |\n" for line in lines)
            + (f"\n{self.note}\n" if self.note else "")
        )

    def latex(self) -> str:
        """Return the table in LaTeX, for the package booktabs."""
        lines = [
            " & ".join(_escaped(show(content)) for content in row) + r" \\"
            for row in (self.columns, *self.rows)
        ]
        body = "\n".join([r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"])
        note = f"% {self.note}\n" if self.note else ""
        columns = "l" + "r" * (len(self.columns) - 1)
        return f"% {self.title}\n{note}\\begin{{tabular}}{{{columns}}}\n{body}\n\\end{{tabular}}\n"

    def csv(self) -> str:
        """Return the table as comma-separated values; a column with intervals becomes three."""
        wide = [
            any(isinstance(row[place], Value) for row in self.rows)
            for place in range(len(self.columns))
        ]
        heads = [
            name
            for column, three in zip(self.columns, wide, strict=True)
            for name in ([column, f"{column} low", f"{column} high"] if three else [column])
        ]
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heads)
        for row in self.rows:
            flat: list[Content] = []
            for content, three in zip(row, wide, strict=True):
                flat += (
                    [content.value, content.low, content.high]
                    if isinstance(content, Value)
                    else [content, None, None]
                    if three
                    else [content]
                )
            writer.writerow(flat)
        return file.getvalue()

    def html(self) -> str:
        """Return the table in HTML."""
        heads = "".join(f"<th>{html.escape(column)}</th>" for column in self.columns)
        rows = "".join(
            "<tr>"
            + "".join(f"<td>{html.escape(show(content))}</td>" for content in row)
            + "</tr>\n"
            for row in self.rows
        )
        note = f"<p>{html.escape(self.note)}</p>" if self.note else ""
        return f"<h3>{html.escape(self.title)}</h3>\n<table><thead><tr>{heads}</tr></thead>\n<tbody>{rows}</tbody></table>{note}\n"


def show(content: Content) -> str:
    """Return an entry as text."""
    if content is None:
        return NO_VALUE
    if isinstance(content, float):
        return f"{content:,.3g}" if abs(content) < 100 else f"{content:,.0f}"
    return f"{content:,}" if isinstance(content, int) else str(content)


def make_tables(results: Results, seed: int = 0, compare: str = "") -> list[Table]:
    """Return all tables.

    They are scores and costs by benchmark, the main score by every group that has several values,
    the main score of the method `compare` (by default the first of E2LLM's) less that of every
    other, nats by place inside the chunk, and costs by length.
    """
    compare = compare or next(
        (spec for spec in methods_of(results) if spec.startswith("e2llm")), ""
    )
    tables = []
    for benchmark in ordered(cell["benchmark"] for cell in results.cells):
        cells = [cell for cell in results.cells if cell["benchmark"] == benchmark]
        tables.append(_scores(benchmark, cells, results, seed))
        if main := main_score(cells):
            tables += [
                _by_group(benchmark, group, main, cells, results, seed)
                for group in groups_of(cells)
            ]
            differences = _differences(benchmark, main, cells, results, compare, seed)
            tables += [differences] if differences.rows else []
    tables += [_places(results, seed)] if place_cells(results) else []
    tables += [
        _costs(cost, results)
        for cost in COSTS
        if any("skipped" not in cell for cell in cost_cells(results))
    ]
    return tables


def main_score(cells: Sequence[Cell]) -> str | None:
    """Return what a benchmark is known by: G-mean where there is ROUGE, F1 where there is that,
    else its first score.
    """
    scores = next((list(cell["scores"]) for cell in cells if "skipped" not in cell), [])
    names = summary_names(scores)
    return next((name for name in ("gmean", "f1", *names) if name in names), None)


def groups_of(cells: Sequence[Cell]) -> list[str]:
    """Return the groups by which samples differ, such as "depth"."""
    names = ordered(name for cell in cells for name in cell["groups"])
    differing = [name for name in names if len({cell["groups"].get(name) for cell in cells}) > 1]
    return [name for name in differing if name != "bucket" or "length" not in differing]


def methods_of(results: Results) -> dict[str, str]:
    """Return every method with its role, in the order of the runs."""
    return {spec: facts["role"] for run in results.runs for spec, facts in run["methods"].items()}


def cost_cells(results: Results) -> list[Cell]:
    """Return the cells of the benchmark `cost`."""
    return [cell for cell in results.cells if cell["benchmark"] == "cost"]


def variant_of(cell: Cell) -> tuple[str, ...]:
    """Return the name of the ablation that a cell is of, and the value; nothing where it is of
    none. `ablate` names its pairs so.
    """
    named = re.match(r"([a-z-]+)=(\S+)", cell.get("model") or "")
    return named.groups() if named else ()


def place_cells(results: Results) -> list[Cell]:
    """Return the cells that know the nats of every token of a restated document."""
    return [cell for cell in results.cells if "token_nats" in cell]


def nats_by_place(cell: Cell) -> list[np.ndarray]:
    """Return the nats of a cell's tokens by their place inside their chunk, in twentieths of its
    tokens.
    """
    nats = np.array(cell["token_nats"])
    parts = [np.zeros(0)] * N_PLACES
    for start, end in pairwise([*cell["chunk_starts"], len(nats)]):
        places = np.arange(end - start) * N_PLACES // max(1, end - start)
        parts = [
            np.append(part, nats[start:end][places == place]) for place, part in enumerate(parts)
        ]
    return parts


def ordered(names: object) -> list:
    """Return each once, in the order in which they first come."""
    return list(dict.fromkeys(names))  # type: ignore[call-overload]


def score_of(name: str, cells: Sequence[Cell], seed: int) -> Value | None:
    """Summarise a score over the cells that have it; None where none has."""
    samples = list(scores_by_sample(name, cells).values())
    return Value(*summarise(name, samples, seed)) if samples else None


def scores_by_sample(name: str, cells: Sequence[Cell]) -> dict[tuple[str, ...], dict[str, float]]:
    """Return the scores of the cells that have what a summary needs, by what tells their method and
    sample from others.
    """
    needed = SUMMARIES.get(name, ((name,), None))[0]
    return {
        (cell["method"], *_sample(cell)): cell["scores"]
        for cell in cells
        if "skipped" not in cell and all(score in cell["scores"] for score in needed)
    }


def _scores(benchmark: str, cells: list[Cell], results: Results, seed: int) -> Table:
    names = summary_names(
        next((list(cell["scores"]) for cell in cells if "skipped" not in cell), [])
    )
    main = main_score(cells)
    rows = []
    for spec, role in methods_of(results).items():
        own = [cell for cell in cells if cell["method"] == spec]
        done = [cell for cell in own if "skipped" not in cell]
        if not own:
            continue
        kept = _retention(main, own, cells, results, seed) if main else None
        costs = [
            _mean([cell[name] for cell in done])
            for name in ("positions", "read_s", "first_token_s")
        ]
        writing_s = sum(cell["total_s"] - cell["first_token_s"] for cell in done)
        rate = (
            sum(max(0, cell["n_answer_tokens"] - 1) for cell in done) / writing_s
            if writing_s
            else None
        )
        reason = next((cell["skipped"] for cell in own if "skipped" in cell), "")
        why = f"{len(own) - len(done)} of {len(own)}: {reason}" if reason else ""
        rows.append(
            (
                spec,
                role,
                len(done),
                *(score_of(name, done, seed) for name in names),
                kept,
                *costs,
                rate,
                why,
            )
        )
    note = (
        "95 % bootstrap intervals over samples. Retention is (score - floor) / (ceiling - floor) "
        f"{f'of {main} ' if main else ''}on the samples that floor, ceiling and method all read."
    )
    columns = (
        "method",
        "role",
        "n",
        *names,
        "retention",
        "positions",
        "read, s",
        "first token, s",
        "tokens/s",
        "could not run",
    )
    return Table(benchmark, benchmark, columns, tuple(rows), note)


def _retention(
    main: str, own: list[Cell], cells: list[Cell], results: Results, seed: int
) -> float | None:
    """Return the retention on the samples that floor, ceiling and method, all of one model, have
    read.
    """
    roles = methods_of(results)
    done, others = ([cell for cell in part if "skipped" not in cell] for part in (own, cells))
    others = [cell for cell in others if cell.get("model") == own[0].get("model")]
    by_role = {
        role: {_sample(cell): cell for cell in others if roles[cell["method"]] == role}
        for role in ("floor", "ceiling")
    }
    common = [cell for cell in done if all(_sample(cell) in own for own in by_role.values())]
    if not common:
        return None
    ends = [
        score_of(main, [own[_sample(cell)] for cell in common], seed) for own in by_role.values()
    ]
    score = score_of(main, common, seed)
    return (
        retention(score.value, ends[0].value, ends[1].value)
        if score and ends[0] and ends[1]
        else None
    )


def _by_group(
    benchmark: str, group: str, main: str, cells: list[Cell], results: Results, seed: int
) -> Table:
    values = sorted({cell["groups"].get(group) for cell in cells}, key=group_key)
    rows = []
    for spec, role in methods_of(results).items():
        own = [cell for cell in cells if cell["method"] == spec]
        parts = [[cell for cell in own if cell["groups"].get(group) == value] for value in values]
        if own:
            kept = _retention(main, own, cells, results, seed)
            rows.append(
                (spec, role, *(score_of(main, part, seed) or _why(part) for part in parts), kept)
            )
    heads = tuple("several" if value is None else str(value) for value in values)
    return Table(
        f"{benchmark}-{group}",
        f"{benchmark}: {main} by {group}",
        ("method", "role", *heads, "retention"),
        tuple(rows),
    )


def _differences(
    benchmark: str, main: str, cells: list[Cell], results: Results, compare: str, seed: int
) -> Table:
    by_method: dict[str, dict[tuple[str, ...], dict[str, float]]] = {}
    for (spec, *sample), scores in scores_by_sample(main, cells).items():
        by_method.setdefault(spec, {})[tuple(sample)] = scores
    rows: list[tuple[Content, ...]] = []
    for spec, role in methods_of(results).items():
        common = [
            sample
            for sample in by_method.get(compare, {})
            if spec != compare and sample in by_method.get(spec, {})
        ]
        if common:
            own, other = (
                [by_method[name][sample] for sample in common] for name in (compare, spec)
            )
            ends = [Value(*summarise(main, part, seed)) for part in (other, own)]
            rows.append(
                (spec, role, len(common), *ends, Value(*difference(main, own, other, seed)))
            )
    columns = ("method", "role", "n", main, compare, f"{compare} minus it")
    note = (
        "On the samples that both read; 95 % bootstrap intervals, of the difference over both at "
        "once."
    )
    return Table(
        f"{benchmark}-differences",
        f"{benchmark}: {main} of {compare} against every other",
        columns,
        tuple(rows),
        note,
    )


def _places(results: Results, seed: int) -> Table:
    parts = {
        "first twentieth": slice(0, 1),
        "between": slice(1, -1),
        "last twentieth": slice(-1, None),
    }
    rows: list[tuple[Content, ...]] = []
    for spec, role in methods_of(results).items():
        own = [nats_by_place(cell) for cell in place_cells(results) if cell["method"] == spec]
        in_parts = [
            [np.concatenate(places[part]) for places in own if any(map(len, places[part]))]
            for part in parts.values()
        ]
        sums = [
            [{"nats_of_tokens": nats.sum(), "n_tokens": len(nats)} for nats in documents]
            for documents in in_parts
        ]
        if own:
            rows.append(
                (
                    spec,
                    role,
                    len(own),
                    *(Value(*summarise("nats_per_token", of, seed)) if of else None for of in sums),
                )
            )
    note = "Nats per token of all documents, with 95 % bootstrap intervals over documents."
    return Table(
        "nats-in-chunk",
        "Restating a text: nats by place inside the chunk",
        ("method", "role", "n", *parts),
        tuple(rows),
        note,
    )


def _costs(cost: str, results: Results) -> Table:
    cells = cost_cells(results)
    lengths = sorted({cell["groups"]["length"] for cell in cells})
    rows = []
    for spec, role in methods_of(results).items():
        own = {cell["groups"]["length"]: cell for cell in cells if cell["method"] == spec}
        if own:
            values = [
                COSTS[cost](own[n])
                if n in own and "skipped" not in own[n]
                else _why([own[n]] if n in own else [])
                for n in lengths
            ]
            known = [
                (own[n]["n_tokens"], value)
                for n, value in zip(lengths, values, strict=True)
                if isinstance(value, float | int)
            ]
            exponent = growth_exponent([n for n, _ in known], [value for _, value in known])
            rows.append(
                (spec, role, *values, None if exponent is None else round(exponent, 2) + 0.0)
            )
    name = "cost-" + cost.replace(",", "").replace(" ", "-").lower()
    note = (
        "Columns are document lengths in tokens (four characters each). The exponent p fits cost "
        "= length ** p."
    )
    return Table(
        name,
        f"cost: {cost}",
        ("method", "role", *(f"{n:,}" for n in lengths), "exponent"),
        tuple(rows),
        note,
    )


def _sample(cell: Cell) -> tuple[str, str]:
    """Return what tells a sample from every other: seeds share names."""
    return cell["sample"], cell["digest"]


def _why(cells: Sequence[Cell]) -> str | None:
    """Return in a word why cells could not run: window, memory or time."""
    return next(
        (str(cell["skipped"]).partition(":")[0] for cell in cells if "skipped" in cell), None
    )


def group_key(value: object) -> tuple:
    """Sort numbers as numbers, buckets such as "6-12K" by where they begin, and none at the end."""
    for number in (str(value), str(value).replace("K", "").replace("+", "").split("-")[0]):
        try:
            return (0, float(number), "")
        except ValueError:
            continue
    return (1, 0.0, str(value))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _escaped(text: str) -> str:
    for char in "\\&%$#_{}":
        text = text.replace(char, f"\\{char}" if char != "\\" else r"\textbackslash ")
    return text
