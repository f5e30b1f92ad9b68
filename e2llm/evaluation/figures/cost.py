"""Time, positions and memory by length of the document."""

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from e2llm.evaluation.cells import COSTS, measured, methods_of, of_benchmark
from e2llm.evaluation.figures.base import STYLE, WIDTH, legend_above, short, styles
from e2llm.evaluation.results import Results

NOTHING = 1e-4  # costs below it are no cost, and would stretch a logarithmic axis


@rc_context(STYLE)
def cost_curves(results: Results) -> Figure:
    """Draw every cost against the document's length, both logarithmic but for memory."""
    n_rows = -(-len(COSTS) // 2)
    figure = Figure(figsize=(WIDTH, 2.1 * n_rows), layout="constrained")
    axes = list(figure.subplots(n_rows, 2, squeeze=False).flat)
    for axis in axes[len(COSTS) :]:
        axis.set_axis_off()
    cells = measured(of_benchmark("cost", results))
    # One legend for all pictures, so a method looks alike in each.
    methods = methods_of(results)
    lines = {}
    for axis, (cost, take) in zip(axes, COSTS.items(), strict=False):
        for style, method in zip(styles([own.spec for own in methods]), methods, strict=True):
            points = sorted(
                (cell["n_tokens"], value)
                for cell in method.cells(cells)
                if (value := take(cell)) and value > NOTHING
            )
            if points:
                # Markers of nine lines in five pictures would be more than the lines are.
                [line] = axis.plot(*zip(*points, strict=True), **style | {"marker": ""})
                lines[method.name] = line
        axis.set_title(cost, loc="left")
        axis.set_yscale("linear" if "memory" in cost else "log")
        by_length(axis, sorted({cell["groups"]["length"] for cell in cells}))
    figure.supxlabel("length of the document, tokens", fontsize=9)
    legend_above(figure, list(lines.values()), list(lines))
    return figure


def by_length(axis: Axes, lengths: list[int]) -> None:
    """Make the axis below logarithmic, with at most six lengths at their places.

    Where the one at the side is logarithmic, its numbers are plain ones.
    """
    axis.set_xscale("log")
    # Six labels fit a picture that is 300 pixels wide.
    shown = lengths[:: -(-len(lengths) // 6)]
    axis.set_xticks(shown, [short(length) for length in shown])
    axis.set_xticks([], minor=True)
    if axis.get_yscale() == "log":
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axis.yaxis.set_minor_formatter("")
