"""What figures share: palette, styles, axes, lines with intervals, saving."""

import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from e2llm.evaluation.cells import Value

# Width in inches at which text has its size: 600 pixels in a browser.
WIDTH = 6.25
# The colours of Okabe and Ito, which everyone can tell apart, without the black and the yellow that
# a black and a white page swallow, and with a lighter blue. Text is of a grey that both show alike.
BLUE, VERMILLION, GREEN, PURPLE = "#1a80c4", "#d55e00", "#009e73", "#cc79a7"
ORANGE, SKY, GREY = "#e69f00", "#56b4e9", "#787878"
# Methods that have the same colour in every figure.
COLOURS = {"e2llm": BLUE, "full-text": VERMILLION, "rag": GREEN, "no-document": GREY}
LINES: list[tuple[str, Any]] = [
    (colour, dashes)
    for dashes in ("-", "--", ":", "-.", (0, (3, 1, 1, 1, 1, 1)))
    for colour in (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, GREY)
]
MARKERS = "osD^vP*Xh<>p"
STYLE: dict[Any, Any] = {
    "axes.edgecolor": GREY,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": GREY,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "figure.facecolor": "none",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
    "font.size": 9,
    "grid.alpha": 0.25,
    "grid.color": GREY,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "svg.fonttype": "none",  # letters stay letters: smaller, and sharp at any size
    "svg.hashsalt": "e2llm",
    "text.color": GREY,
    "xtick.bottom": False,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "ytick.left": False,
}


class Series(NamedTuple):
    """A line of a figure: its method, what the legend calls it, and its points."""

    spec: str
    name: str
    points: list[tuple[float, Value]]


def line_figure(xlabel: str, ylabel: str, series: Sequence[Series]) -> tuple[Figure, Axes]:
    """Draw lines with 95 % intervals; those without a point are left out."""
    figure, axis = one_axis(xlabel, ylabel)
    for style, own in zip(styles([own.spec for own in series]), series, strict=True):
        if own.points:
            at, values, below, above = np.array(
                [(at, v.value, v.value - v.low, v.high - v.value) for at, v in own.points]
            ).T  # (n_points,) each
            ends = np.maximum([below, above], 0)  # a percentile may pass the mean by a rounding
            label = own.name
            axis.errorbar(at, values, yerr=ends, label=label, capsize=2, elinewidth=0.7, **style)
    legend_above(figure, *axis.get_legend_handles_labels())
    return figure, axis


def one_axis(xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    """Return a figure with one pair of axes, and them."""
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axis = figure.subplots()
    axis.set(xlabel=xlabel, ylabel=ylabel)
    return figure, axis


def legend_above(figure: Figure, handles: Sequence[Artist], names: Sequence[str]) -> None:
    """Put the legend over everything, in two columns, and make the figure higher by it."""
    # Two columns of 300 pixels hold 46 letters each; a longer name is halved.
    wrapped = [
        textwrap.fill(name, 46 if len(name) <= 46 else max(30, len(name) // 2 + 8))
        for name in names
    ]
    n_lines = sum(name.count("\n") + 1 for name in wrapped)
    figure.set_figheight(figure.get_figheight() + 0.2 * -(-n_lines // 2))
    figure.legend(handles, wrapped, loc="outside upper center", ncols=min(2, len(wrapped)))


def styles(specs: Sequence[str]) -> list[dict[str, Any]]:
    """Return how to draw the lines of methods, each of its own colour or dashes."""
    known = {spec: COLOURS.get(spec.partition(" @ ")[0]) for spec in specs}
    # Methods with a colour of their own choose first; a second model's takes what is left.
    lines: dict[str, tuple[str, Any]] = {}
    for spec, colour in known.items():
        if colour and (colour, "-") not in lines.values():
            lines[spec] = colour, "-"
    free = [line for line in LINES if line not in lines.values()]
    for place, spec in enumerate(spec for spec in specs if spec not in lines):
        lines[spec] = free[place % len(free)]
    drawn: list[dict[str, Any]] = []
    for place, spec in enumerate(specs):
        colour, dashes = lines[spec]
        drawn.append(
            {"color": colour, "linestyle": dashes, "marker": MARKERS[place % len(MARKERS)]}
        )
        if COLOURS.get(spec.partition(" @ ")[0]) == BLUE:  # what the figure is about, on top
            drawn[-1] |= {"linewidth": 2.5, "zorder": 3}
    return drawn


def short(n_tokens: float) -> str:
    """Return a number of tokens as axes show it.

    Example:
        >>> short(200), short(512_000), short(1_024_000)
        ('200', '512K', '1M')
    """
    if n_tokens < 1000:
        return f"{n_tokens:g}"
    return f"{n_tokens / 1000:g}K" if n_tokens < 1e6 else f"{n_tokens / 1e6:.2g}M"


def save(figure: Figure, path: Any, kind: str) -> None:
    """Write a figure as "png", on white, or as "svg", without a background.

    The same figure gives the same bytes.
    """
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    background = "none" if kind == "svg" else "white"
    with rc_context(STYLE):
        figure.savefig(path, format=kind, dpi=150, facecolor=background, metadata=metadata)
