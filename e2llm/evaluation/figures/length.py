"""A benchmark's score by length of the document, a line for every method."""

from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from e2llm.evaluation.cells import measured, methods_of, ordered, score_of
from e2llm.evaluation.figures.base import STYLE, Series, line_figure, short
from e2llm.evaluation.names import SCORES
from e2llm.evaluation.results import Cell, Results


@rc_context(STYLE)
def score_by_length(main: str, cells: Sequence[Cell], results: Results, seed: int) -> Figure:
    """Draw the main score of every length group at the group's mean length, with 95 % intervals."""
    series = series_by("bucket", main, cells, results, seed)
    figure, axis = line_figure("length of the document, tokens", SCORES.get(main, main), series)
    axis.xaxis.set_major_formatter(lambda n_tokens, _: short(n_tokens))
    return figure


def series_by(
    group: str, score: str, cells: Sequence[Cell], results: Results, seed: int
) -> list[Series]:
    """Return the score of every method by a group.

    A point is at the value of "depth", and of any other group at its documents' mean length.
    """
    series = []
    for method in methods_of(results):
        done = measured(method.cells(cells))
        points = []
        for value in ordered(cell["groups"][group] for cell in done):
            own = [cell for cell in done if cell["groups"][group] == value]
            # A group has documents of many lengths; where its point stands is their mean.
            mean = float(np.mean([cell["n_tokens"] for cell in own]))
            if (summary := score_of(score, own, seed)) is not None:
                points.append((value if group == "depth" else mean, summary))
        points.sort(key=lambda point: point[0])
        series.append(Series(method.spec, method.name, points))
    return series
