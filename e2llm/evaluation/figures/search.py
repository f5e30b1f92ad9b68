"""What a search found: every trial by what it costs and what it is worth."""

from collections.abc import Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from e2llm.evaluation.figures.base import BLUE, GREY, STYLE, legend_above, one_axis


@rc_context(STYLE)
def search_front(trials: Sequence[dict[str, Any]], front: Sequence[dict[str, Any]]) -> Figure:
    """Draw every trial of a search, and a line through those that no other beats in both."""
    figure, axis = one_axis("soft tokens per token of text", "nats per token of held-out answers")
    every, best = (
        [(trial["soft_tokens_per_token"], trial["validation"]) for trial in own]
        for own in (trials, front)
    )
    axis.scatter(*zip(*every, strict=True), color=GREY, label="trials")
    axis.plot(*zip(*best, strict=True), "o-", color=BLUE, label="not beaten in both")
    for trial, place in zip(front, best, strict=True):
        # A label says how to do the same.
        overlap = f" (overlap {trial['overlap_chars']})" if trial["overlap_chars"] else ""
        settings = (
            f"{trial['chunking']}, {trial['chunk_chars']} characters{overlap}, ratio "
            f"{trial['ratio']}"
        )
        axis.annotate(settings, place, (4, 4), textcoords="offset points", fontsize=7)
    axis.set_xscale("log")
    legend_above(figure, *axis.get_legend_handles_labels())
    return figure
