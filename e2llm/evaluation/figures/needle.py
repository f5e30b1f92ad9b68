"""The needle in a haystack: a map of scores, and lines by depth."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from e2llm.evaluation.cells import MeasuredMethod, methods_of
from e2llm.evaluation.figures.base import BLUE, GREY, STYLE, VERMILLION, WIDTH, line_figure, short
from e2llm.evaluation.figures.length import series_by
from e2llm.evaluation.results import Cell, Results

GOOD = 5  # the score from which on a cell is blue
# Shades of scores 0 to 10, from whole vermillion to whole blue.
BAD_SHADES = LinearSegmentedColormap.from_list("bad", [VERMILLION, "#f7d4b8"])
GOOD_SHADES = LinearSegmentedColormap.from_list("good", ["#c3dff0", BLUE])
SHADES = ListedColormap(
    [*BAD_SHADES(np.linspace(0, 1, GOOD)), *GOOD_SHADES(np.linspace(0, 1, 10 - GOOD))]
)
# What could not run.
HATCH: dict[str, Any] = {"hatch": "////", "edgecolor": GREY, "facecolor": "none"}


@rc_context(STYLE)
def needle_map(cells: Sequence[Cell], results: Results) -> Figure:
    """Draw one map for every method.

    It is vermillion below a score of 5, blue from there on, and hatched where it could not run.
    """
    methods = [method for method in methods_of(results) if method.cells(cells)]
    lengths, depths = (
        sorted({cell["groups"][name] for cell in cells}) for name in ("length", "depth")
    )
    n_columns = min(3, len(methods))
    n_rows = -(-len(methods) // n_columns)
    height = 0.9 + (0.24 * len(depths) + 0.5) * n_rows
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
    for axis in axes[len(methods) :]:
        axis.set_axis_off()
    for method, axis in zip(methods, axes, strict=False):
        _draw(axis, method, cells, lengths, depths)
        axis.set_title(textwrap.fill(method.name, 78 // n_columns))
    figure.supxlabel("length of the document, tokens", fontsize=9)
    figure.supylabel("depth of the needle, %", fontsize=9)
    patches = [
        Patch(facecolor=SHADES(1), label=f"score below {GOOD}"),
        Patch(facecolor=SHADES(8), label=f"score from {GOOD} to 10"),
        Patch(label="could not run", **HATCH),
    ]
    figure.legend(handles=patches, loc="outside upper center", ncols=3)
    return figure


def _draw(
    axis: Axes,
    method: MeasuredMethod,
    cells: Sequence[Cell],
    lengths: Sequence[int],
    depths: Sequence[int],
) -> None:
    """Draw the map of one method."""
    # (n_depths, n_lengths); what could not run stays without a number
    grid = np.full((len(depths), len(lengths)), np.nan)
    for cell in method.cells(cells):
        if "skipped" not in cell:
            row = depths.index(cell["groups"]["depth"])
            column = lengths.index(cell["groups"]["length"])
            score = grid[row, column] = cell["scores"]["needle"]
            # On the darkest shades of either colour.
            colour = "white" if score < 2 or score > 8 else "black"
            text = axis.text(column, row, f"{score:.0f}", color=colour, fontsize=7)
            text.set(ha="center", va="center")
    # The hatch is the ground, and shows where no cell is drawn over it.
    axis.patch.set(**HATCH)
    edges = np.arange(len(lengths) + 1) - 0.5, np.arange(len(depths) + 1) - 0.5
    norm = BoundaryNorm(range(11), 10)
    drawn = np.ma.masked_invalid(grid)
    axis.pcolormesh(*edges, drawn, cmap=SHADES, norm=norm, edgecolors="white", linewidth=0.5)
    # The beginning of the document is at the top.
    axis.set_ylim(len(depths) - 0.5, -0.5)
    axis.grid(False)
    axis.set_xticks(range(len(lengths)), [short(length) for length in lengths])
    axis.set_yticks(range(len(depths)), [str(depth) for depth in depths])
    axis.tick_params(labelsize=8, length=0)


@rc_context(STYLE)
def needle_by_depth(cells: Sequence[Cell], results: Results, seed: int) -> Figure:
    """Draw the mean score at every depth, with 95 % intervals, a line for every method."""
    series = series_by("depth", "needle", cells, results, seed)
    return line_figure("depth of the needle, %", "score, 0 to 10", series)[0]
