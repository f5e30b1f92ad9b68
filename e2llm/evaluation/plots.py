"""Figures of the report, by matplotlib: the needle map, scores by length, and what reading costs.

No torch here.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from e2llm.errors import MissingPackageError
from e2llm.evaluation.results import Cell, Results
from e2llm.evaluation.tables import (
    COSTS,
    N_PLACES,
    Value,
    cost_cells,
    group_key,
    main_score,
    methods_of,
    nats_by_place,
    ordered,
    place_cells,
    score_of,
    variant_of,
)

try:
    from matplotlib import colormaps, rc_context
    from matplotlib.colors import BoundaryNorm, ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch
except ImportError as error:
    raise MissingPackageError(
        "figures need the package matplotlib: pip install 'e2llm[eval]'."
    ) from error

GOOD = 5  # the needle score below which a cell is red
NOTHING = 1e-4  # costs below it are no cost, and would stretch a logarithmic axis
_MARKERS = "osD^vP*Xh<>p"


def make_figures(results: Results, seed: int = 0) -> Iterator[tuple[str, str, Figure]]:
    """Yield every figure that the results give something for, with the name of its file and its
    title.
    """
    needles = [
        cell
        for cell in results.cells
        if cell["benchmark"] == "needle" and cell["groups"].get("depth") is not None
    ]
    if any("skipped" not in cell for cell in needles):
        yield (
            "needle-map",
            "Needle in a haystack: score by depth and length",
            needle_map(needles, results),
        )
        yield (
            "needle-depth",
            "Needle in a haystack: score by depth",
            needle_by_depth(needles, results, seed),
        )
    for benchmark in ordered(cell["benchmark"] for cell in results.cells):
        cells = [cell for cell in results.cells if cell["benchmark"] == benchmark]
        main = main_score(cells)
        if main is not None and len({cell["n_tokens"] for cell in cells}) > 1:
            yield (
                f"{benchmark}-length",
                f"{benchmark}: {main} by length of the document",
                score_by_length(main, cells, results, seed),
            )
        for name in ordered(variant[0] for cell in cells if (variant := variant_of(cell))):
            own = [cell for cell in cells if variant_of(cell)[:1] == (name,)]
            if main is not None and len({variant_of(cell) for cell in own}) > 1:
                yield (
                    f"ablation-{name}-{benchmark}",
                    f"{benchmark}: {main} by {name}",
                    ablation(name, main, own, seed),
                )
    if place_cells(results):
        yield (
            "nats-in-chunk",
            "Restating a text: nats by place inside the chunk",
            nats_in_chunk(results),
        )
    if any("skipped" not in cell for cell in cost_cells(results)):
        yield "cost", "What reading and answering take", cost_curves(results)


def needle_map(cells: Sequence[Cell], results: Results) -> Figure:
    """Draw one map for every method: red below a score of 5, green from there on, hatched where it
    could not run.
    """
    methods = [
        spec for spec in methods_of(results) if any(cell["method"] == spec for cell in cells)
    ]
    lengths, depths = (
        sorted({cell["groups"][name] for cell in cells}) for name in ("length", "depth")
    )
    n_columns = min(4, len(methods))
    n_rows = -(-len(methods) // n_columns)
    size = (
        1 + max(1.6, 0.4 * len(lengths)) * n_columns,
        1 + max(1.3, 0.25 * len(depths) + 0.4) * n_rows,
    )
    figure = Figure(figsize=size, layout="constrained")
    axes = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
    reds, greens = (
        colormaps["Reds_r"](np.linspace(0.15, 0.7, GOOD)),
        colormaps["Greens"](np.linspace(0.35, 0.8, 10 - GOOD)),
    )
    colours = ListedColormap([*reds, *greens])
    for spec, axis in zip(methods, axes, strict=False):
        grid = np.full((len(depths), len(lengths)), np.nan)
        for cell in cells:
            if cell["method"] == spec and "skipped" not in cell:
                row, column = (
                    depths.index(cell["groups"]["depth"]),
                    lengths.index(cell["groups"]["length"]),
                )
                grid[row, column] = cell["scores"]["needle"]
                colour = "white" if grid[row, column] < 2 or grid[row, column] > 8 else "black"
                axis.text(
                    column,
                    row,
                    f"{grid[row, column]:.0f}",
                    ha="center",
                    va="center",
                    fontsize=7,
                    color=colour,
                )
        axis.patch.set(hatch="////", edgecolor="0.6", facecolor="0.92")
        edges = np.arange(len(lengths) + 1) - 0.5, np.arange(len(depths) + 1) - 0.5
        axis.pcolormesh(
            *edges,
            np.ma.masked_invalid(grid),
            cmap=colours,
            norm=BoundaryNorm(range(11), 10),
            edgecolors="white",
            linewidth=0.5,
        )
        axis.set_ylim(len(depths) - 0.5, -0.5)
        axis.set_title(spec, fontsize=9)
        axis.set_xticks(
            range(len(lengths)), [f"{length / 1000:g}K" for length in lengths], fontsize=7
        )
        axis.set_yticks(range(len(depths)), [f"{depth}%" for depth in depths], fontsize=7)
    for axis in axes[len(methods) :]:
        axis.set_axis_off()
    figure.suptitle(
        "score by tokens of the document (across) and depth of the needle (down)", fontsize=9
    )
    patches = [
        Patch(facecolor=reds[1], label=f"score below {GOOD}"),
        Patch(facecolor=greens[-2], label=f"{GOOD} to 10"),
        Patch(facecolor="0.92", edgecolor="0.6", hatch="////", label="could not run"),
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def needle_by_depth(cells: Sequence[Cell], results: Results, seed: int) -> Figure:
    """Draw the mean score at every depth, with 95 % intervals, a line for every method."""
    return _lines(
        "depth of the needle, %",
        "needle",
        [(spec, own, "depth") for spec, own in _by_method(cells, results)],
        seed,
    )


def score_by_length(main: str, cells: Sequence[Cell], results: Results, seed: int) -> Figure:
    """Draw the main score of every length group at the group's mean length, with 95 % intervals."""
    return _lines(
        "tokens of the document",
        main,
        [(spec, own, "bucket") for spec, own in _by_method(cells, results)],
        seed,
    )


def ablation(name: str, main: str, cells: Sequence[Cell], seed: int) -> Figure:
    """Draw the main score of every variant of an ablation, with 95 % intervals, at equal distances
    in the order of the values.
    """
    values = sorted({variant_of(cell)[1] for cell in cells}, key=group_key)
    lines: dict[str, list[Cell]] = {}
    for cell in cells:
        # The same method of every variant is one line, also where it names the value.
        spec = cell["method"].removesuffix(f" @ {cell['model']}")
        line = ":".join(
            name if part == "=".join(variant_of(cell)) else part for part in spec.split(":")
        )
        lines.setdefault(line, []).append(cell)
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axis = figure.subplots()
    for style, (spec, own) in zip(_styles(len(lines)), lines.items(), strict=True):
        scores = [
            score_of(main, [cell for cell in own if variant_of(cell)[1] == value], seed)
            for value in values
        ]
        _draw(
            axis,
            spec,
            [(place, score) for place, score in enumerate(scores) if score is not None],
            style,
        )
    axis.set_xticks(range(len(values)), values)
    return _finish(figure, axis, name, main)


def search_front(trials: Sequence[dict[str, Any]], front: Sequence[dict[str, Any]]) -> Figure:
    """Draw every trial of a search by what it costs and what it is worth, and a line through those
    that no other beats in both.
    """
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axis = figure.subplots()
    places = [
        [(trial["soft_tokens_per_token"], trial["validation"]) for trial in own]
        for own in (trials, front)
    ]
    axis.scatter(*zip(*places[0], strict=True), color="0.6", label="trials")
    axis.plot(*zip(*places[1], strict=True), "o-", label="not beaten in both")
    for trial, place in zip(front, places[1], strict=True):
        overlap = f" (overlap {trial['overlap_chars']})" if trial["overlap_chars"] else ""
        settings = (
            f"{trial['chunking']}, {trial['chunk_chars']} characters{overlap}, ratio "
            f"{trial['ratio']}"
        )
        axis.annotate(settings, place, (4, 4), textcoords="offset points", fontsize=7)
    axis.set_xscale("log")
    return _finish(
        figure, axis, "soft tokens per token of text", "nats per token of held-out answers"
    )


def nats_in_chunk(results: Results) -> Figure:
    """Draw the mean nats of tokens by their place inside their chunk, in twentieths; the first and
    the last, the chunk's edges, are shaded.
    """
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axis = figure.subplots()
    by_method = _by_method(place_cells(results), results)
    for style, (spec, cells) in zip(_styles(len(by_method)), by_method, strict=True):
        parts = [
            np.concatenate(of_cells) for of_cells in zip(*map(nats_by_place, cells), strict=True)
        ]
        points = [
            ((place + 0.5) / N_PLACES, part.mean()) for place, part in enumerate(parts) if len(part)
        ]
        if points:
            axis.plot(*zip(*points, strict=True), label=spec, **style)
    for edge in (0, 1 - 1 / N_PLACES):
        axis.axvspan(edge, edge + 1 / N_PLACES, color="0.85", zorder=0)
    axis.set_xlim(0, 1)
    return _finish(
        figure, axis, "place inside the chunk (0 is its start; edges are shaded)", "nats per token"
    )


def cost_curves(results: Results) -> Figure:
    """Draw every cost against the document's length, both logarithmic but for memory; the growth
    exponents stand in the tables.
    """
    figure = Figure(figsize=(11, 3.2 * -(-len(COSTS) // 2)), layout="constrained")
    axes = list(figure.subplots(-(-len(COSTS) // 2), 2, squeeze=False).flat)
    by_method = _by_method(cost_cells(results), results)
    ticks = sorted({cell["groups"]["length"] for cell in cost_cells(results)})
    lines = {}
    for axis, (cost, take) in zip(axes, COSTS.items(), strict=False):
        for style, (spec, own) in zip(_styles(len(by_method)), by_method, strict=True):
            points = sorted(
                (cell["n_tokens"], value)
                for cell in own
                if "skipped" not in cell and (value := take(cell)) and value > NOTHING
            )
            if points:
                lines[spec] = axis.plot(*zip(*points, strict=True), **style)[0]
        axis.set(
            xscale="log",
            xlabel="tokens of the document",
            ylabel=cost,
            yscale="linear" if "memory" in cost else "log",
        )
        axis.set_xticks(ticks, [f"{tick / 1000:g}K" for tick in ticks])
        axis.set_xticks([], minor=True)
        axis.grid(alpha=0.3)
    for axis in axes[len(COSTS) :]:
        axis.set_axis_off()
    axes[-1].legend(
        lines.values(),
        lines,
        fontsize=8,
        frameon=False,
        loc="center" if len(axes) > len(COSTS) else "best",
        ncols=2,
    )
    return figure


def _lines(
    xlabel: str, score: str, series: Sequence[tuple[str, list[Cell], str]], seed: int
) -> Figure:
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axis = figure.subplots()
    for style, (spec, cells, group) in zip(_styles(len(series)), series, strict=True):
        points = []
        for value in ordered(cell["groups"][group] for cell in cells):
            own = [
                cell for cell in cells if cell["groups"][group] == value and "skipped" not in cell
            ]
            if (summary := score_of(score, own, seed)) is not None:
                points.append(
                    (
                        value
                        if group == "depth"
                        else float(np.mean([cell["n_tokens"] for cell in own])),
                        summary,
                    )
                )
        _draw(axis, spec, sorted(points, key=lambda point: point[0]), style)
    return _finish(figure, axis, xlabel, score)


def _draw(
    axis: Any, label: str, points: Sequence[tuple[float, Value]], style: dict[str, Any]
) -> None:
    """Draw a line with the ends of its intervals, where there is anything to draw."""
    if points:
        at, values, below, above = np.array(
            [(at, own.value, own.value - own.low, own.high - own.value) for at, own in points]
        ).T
        axis.errorbar(
            at,
            values,
            yerr=np.maximum([below, above], 0),
            label=label,
            capsize=2,
            elinewidth=0.7,
            **style,
        )


def _finish(figure: Figure, axis: Any, xlabel: str, ylabel: str) -> Figure:
    axis.set(xlabel=xlabel, ylabel=ylabel)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7, frameon=False, bbox_to_anchor=(1.01, 1), loc="upper left")
    return figure


def _by_method(cells: Sequence[Cell], results: Results) -> list[tuple[str, list[Cell]]]:
    return [
        (spec, [cell for cell in cells if cell["method"] == spec]) for spec in methods_of(results)
    ]


def _styles(n: int) -> list[dict[str, Any]]:
    colours = colormaps["tab20"].colors  # type: ignore[attr-defined]
    return [
        {
            "color": colours[2 * i % 20 + i // 10 % 2],
            "marker": _MARKERS[i % len(_MARKERS)],
            "markersize": 4,
            "linewidth": 1.2,
        }
        for i in range(n)
    ]


def save(figure: Figure, path: Any, kind: str) -> None:
    """Write a figure as "png" or "svg"; the same figure gives the same bytes."""
    with rc_context({"svg.hashsalt": "e2llm"}):
        figure.savefig(
            path,
            format=kind,
            dpi=150,
            metadata={"Date": None} if kind == "svg" else {"Software": None},
        )
