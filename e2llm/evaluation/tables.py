"""The tables of a report: scores, costs and differences, made of cells.

No torch here.
"""

from collections.abc import Sequence

import numpy as np

from e2llm.evaluation.cells import (
    COSTS,
    MeasuredMethod,
    Value,
    group_key,
    groups_of,
    main_score,
    measured,
    methods_of,
    nats_by_place,
    of_benchmark,
    ordered,
    place_cells,
    sample_key,
    score_names,
    score_of,
    scores_by_sample,
)
from e2llm.evaluation.metrics import difference, growth_exponent, retention, summarise
from e2llm.evaluation.results import Cell, Results
from e2llm.evaluation.table import Content, Table

# What a place inside a chunk is called, and which of its twentieths it is.
PLACES = {
    "first twentieth": slice(0, 1),
    "between": slice(1, -1),
    "last twentieth": slice(-1, None),
}


def make_tables(results: Results, seed: int = 0, compare: str = "") -> list[Table]:
    """Return all tables.

    They are scores and costs by benchmark, the main score by every group that has several values,
    the main score of the method `compare` (by default the first of E2LLM's) less that of every
    other, nats by place inside the chunk, costs by length, and what the methods' names stand for.
    """
    methods = methods_of(results)
    # The first of E2LLM's is what a report is about, wherever rivals stand in the run.
    compare = compare or next((own.spec for own in methods if own.spec.startswith("e2llm")), "")
    chosen = next((own for own in methods if own.spec == compare), None)
    tables = []
    for benchmark in ordered(cell["benchmark"] for cell in results.cells):
        cells = of_benchmark(benchmark, results)
        tables.append(_scores(benchmark, cells, methods, seed))
        if main := main_score(cells):
            tables += [
                _by_group(benchmark, group, main, cells, methods, seed)
                for group in groups_of(cells)
            ]
            if chosen is not None:
                differences = _differences(benchmark, main, cells, methods, chosen, seed)
                tables += [differences] if differences.rows else []
    if cells := place_cells(results):
        tables.append(_places(cells, methods, seed))
    cells = of_benchmark("cost", results)
    if measured(cells):
        tables += [_costs(cost, cells, methods) for cost in COSTS]
    return [*tables, _names(methods)]


def _names(methods: Sequence[MeasuredMethod]) -> Table:
    """Tell what to call each method by, for `e2llm evaluate` and `e2llm report --compare`."""
    rows = tuple((own.name, own.spec) for own in methods)
    return Table("methods", "What the methods are", ("method", "specification"), rows)


def _scores(
    benchmark: str, cells: list[Cell], methods: Sequence[MeasuredMethod], seed: int
) -> Table:
    names, main = score_names(cells), main_score(cells)
    rows: list[tuple[Content, ...]] = []
    for method in methods:
        own = method.cells(cells)
        if not own:
            continue
        done = measured(own)
        kept = _retention(main, own, cells, methods, seed) if main else None
        reason = next((cell["skipped"] for cell in own if "skipped" in cell), "")
        why = f"{len(own) - len(done)} of {len(own)}: {reason}" if reason else ""
        scores = (score_of(name, done, seed) for name in names)
        rows.append((method.name, method.role, len(done), *scores, kept, *_means(done), why))
    note = (
        "95 % bootstrap intervals over samples. Retention is (score - floor) / (ceiling - floor) "
        f"{f'of {main} ' if main else ''}on the samples that floor, ceiling and method all read."
    )
    costs = ("positions", "read, s", "first token, s", "tokens/s")
    columns = ("method", "role", "n", *names, "retention", *costs, "could not run")
    return Table(benchmark, benchmark, columns, tuple(rows), note)


def _means(done: Sequence[Cell]) -> list[float | None]:
    """Return mean positions, seconds to read and to the first token, and tokens per second."""
    costs = [_mean([cell[name] for cell in done]) for name in ("positions", "read_s")]
    first = _mean([cell["first_token_s"] for cell in done])
    writing_s = sum(cell["total_s"] - cell["first_token_s"] for cell in done)
    # An answer's first token is no writing: its time is that of the prompt.
    n_written = sum(max(0, cell["n_answer_tokens"] - 1) for cell in done)
    return [*costs, first, n_written / writing_s if writing_s else None]


def _retention(
    main: str, own: list[Cell], cells: list[Cell], methods: Sequence[MeasuredMethod], seed: int
) -> float | None:
    """Return the retention on the samples that floor, ceiling and method have read.

    All three are of one model.
    """
    roles = {method.spec: method.role for method in methods}
    # A floor of another model says nothing about this one.
    others = [cell for cell in measured(cells) if cell.get("model") == own[0].get("model")]
    by_role = {
        role: {sample_key(cell): cell for cell in others if roles[cell["method"]] == role}
        for role in ("floor", "ceiling")
    }
    common = [
        cell for cell in measured(own) if all(sample_key(cell) in ends for ends in by_role.values())
    ]
    # Where a long document is beyond the ceiling's window, nothing is common to all.
    if not common:
        return None
    floor, ceiling = (
        score_of(main, [ends[sample_key(cell)] for cell in common], seed)
        for ends in by_role.values()
    )
    score = score_of(main, common, seed)
    if score is None or floor is None or ceiling is None:
        return None
    return retention(score.value, floor.value, ceiling.value)


def _by_group(
    benchmark: str,
    group: str,
    main: str,
    cells: list[Cell],
    methods: Sequence[MeasuredMethod],
    seed: int,
) -> Table:
    values = sorted({cell["groups"].get(group) for cell in cells}, key=group_key)
    rows: list[tuple[Content, ...]] = []
    for method in methods:
        own = method.cells(cells)
        parts = [[cell for cell in own if cell["groups"].get(group) == value] for value in values]
        if own:
            kept = _retention(main, own, cells, methods, seed)
            scores = (score_of(main, part, seed) or _why(part) for part in parts)
            rows.append((method.name, method.role, *scores, kept))
    heads = tuple("several" if value is None else str(value) for value in values)
    columns = ("method", "role", *heads, "retention")
    return Table(f"{benchmark}-{group}", f"{benchmark}: {main} by {group}", columns, tuple(rows))


def _differences(
    benchmark: str,
    main: str,
    cells: list[Cell],
    methods: Sequence[MeasuredMethod],
    chosen: MeasuredMethod,
    seed: int,
) -> Table:
    # Pairs of scores on the same sample: their difference varies less than either score.
    by_method: dict[str, dict[tuple[str, ...], dict[str, float]]] = {}
    for (spec, *sample), scores in scores_by_sample(main, cells).items():
        by_method.setdefault(spec, {})[tuple(sample)] = scores
    rows: list[tuple[Content, ...]] = []
    for method in methods:
        common = [
            sample
            for sample in by_method.get(chosen.spec, {})
            if method != chosen and sample in by_method.get(method.spec, {})
        ]
        if common:
            own, other = (
                [by_method[spec][sample] for sample in common]
                for spec in (chosen.spec, method.spec)
            )
            ends = [Value(*summarise(main, part, seed)) for part in (other, own)]
            less = Value(*difference(main, own, other, seed))
            rows.append((method.name, method.role, len(common), *ends, less))
    note = (
        f"The difference is {chosen.name}, less the row's method, on the samples that both read; "
        "95 % bootstrap intervals, of the difference over both at once."
    )
    return Table(
        f"{benchmark}-differences",
        f"{benchmark}: {main} of every other method beside {chosen.name}",
        ("method", "role", "n", main, chosen.name, "difference"),
        tuple(rows),
        note,
    )


def _places(cells: Sequence[Cell], methods: Sequence[MeasuredMethod], seed: int) -> Table:
    rows: list[tuple[Content, ...]] = []
    for method in methods:
        own = [nats_by_place(cell) for cell in method.cells(cells)]
        if not own:
            continue
        values: list[Content] = []
        for part in PLACES.values():
            # Per document: (n_tokens,), those of the part. Documents without any are left out.
            nats = [np.concatenate(places[part]) for places in own if any(map(len, places[part]))]
            sums = [{"nats_of_tokens": of.sum(), "n_tokens": len(of)} for of in nats]
            values.append(Value(*summarise("nats_per_token", sums, seed)) if sums else None)
        rows.append((method.name, method.role, len(own), *values))
    return Table(
        "nats-in-chunk",
        "Restating a text: nats by place inside the chunk",
        ("method", "role", "n", *PLACES),
        tuple(rows),
        "Nats per token of all documents, with 95 % bootstrap intervals over documents.",
    )


def _costs(cost: str, cells: Sequence[Cell], methods: Sequence[MeasuredMethod]) -> Table:
    lengths = sorted({cell["groups"]["length"] for cell in cells})
    take = COSTS[cost]
    rows: list[tuple[Content, ...]] = []
    for method in methods:
        # One document a length, so one cell.
        own = {cell["groups"]["length"]: cell for cell in method.cells(cells)}
        if not own:
            continue
        values: list[Content] = [
            take(own[n])
            if n in own and "skipped" not in own[n]
            else _why([own[n]] if n in own else [])
            for n in lengths
        ]
        # What could not run is a word in the table, and no point of the fit.
        known = [
            (own[n]["n_tokens"], value)
            for n, value in zip(lengths, values, strict=True)
            if isinstance(value, float | int)
        ]
        exponent = growth_exponent([n for n, _ in known], [value for _, value in known])
        # Adding zero makes 0.0 of -0.0.
        grown = None if exponent is None else round(exponent, 2) + 0.0
        rows.append((method.name, method.role, *values, grown))
    return Table(
        "cost-" + cost.replace(",", "").replace(" ", "-").lower(),
        f"cost: {cost}",
        ("method", "role", *(f"{n:,}" for n in lengths), "exponent"),
        tuple(rows),
        "Columns are document lengths in tokens (four characters each). The exponent p fits cost "
        "= length ** p.",
    )


def _why(cells: Sequence[Cell]) -> str | None:
    """Return in a word why cells could not run: window, memory or time."""
    return next(
        (str(cell["skipped"]).partition(":")[0] for cell in cells if "skipped" in cell), None
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
