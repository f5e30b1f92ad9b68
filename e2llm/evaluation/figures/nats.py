"""Nats of restated tokens by their place inside their chunk."""

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from e2llm.evaluation.cells import N_PLACES, methods_of, nats_by_place, place_cells
from e2llm.evaluation.figures.base import GREY, STYLE, legend_above, one_axis, styles
from e2llm.evaluation.results import Results


@rc_context(STYLE)
def nats_in_chunk(results: Results) -> Figure:
    """Draw the mean nats of tokens by their place inside their chunk, in twentieths.

    The first and the last, which are the chunk's edges, are shaded.
    """
    figure, axis = one_axis(
        "place inside the chunk, from its start (0) to its end (1); edges are shaded",
        "nats per token",
    )
    methods = methods_of(results)
    for style, method in zip(styles([own.spec for own in methods]), methods, strict=True):
        # Per twentieth, the nats of all documents together: every token counts once.
        of_cells = map(nats_by_place, method.cells(place_cells(results)))
        parts = [np.concatenate(own) for own in zip(*of_cells, strict=True)]
        points = [
            ((place + 0.5) / N_PLACES, part.mean()) for place, part in enumerate(parts) if len(part)
        ]
        if points:
            axis.plot(*zip(*points, strict=True), label=method.name, **style)
    for edge in (0, 1 - 1 / N_PLACES):
        axis.axvspan(edge, edge + 1 / N_PLACES, color=GREY, alpha=0.2, linewidth=0, zorder=0)
    axis.set_xlim(0, 1)
    legend_above(figure, *axis.get_legend_handles_labels())
    return figure
