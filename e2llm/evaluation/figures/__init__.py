"""Figures of a report, drawn by matplotlib: one file for each kind.

No torch here.
"""

from collections.abc import Iterator

from e2llm.errors import MissingPackageError
from e2llm.evaluation.cells import (
    main_score,
    measured,
    of_benchmark,
    ordered,
    place_cells,
    variant_of,
)
from e2llm.evaluation.results import Results

try:
    from matplotlib import figure
except ImportError as error:
    raise MissingPackageError(
        "figures need the package matplotlib: pip install 'e2llm[eval]'."
    ) from error

from e2llm.evaluation.figures.ablation import ablation
from e2llm.evaluation.figures.cost import cost_curves
from e2llm.evaluation.figures.length import score_by_length
from e2llm.evaluation.figures.nats import nats_in_chunk
from e2llm.evaluation.figures.needle import needle_by_depth, needle_map


def make_figures(results: Results, seed: int = 0) -> Iterator[tuple[str, str, figure.Figure]]:
    """Yield every figure that the results give something for: file name, title, figure."""
    needles = [
        cell for cell in of_benchmark("needle", results) if cell["groups"].get("depth") is not None
    ]
    if measured(needles):
        title = "Needle in a haystack: score by depth"
        yield "needle-map", f"{title} and length", needle_map(needles, results)
        yield "needle-depth", title, needle_by_depth(needles, results, seed)
    for benchmark in ordered(cell["benchmark"] for cell in results.cells):
        yield from _of_benchmark(benchmark, results, seed)
    if place_cells(results):
        title = "Restating a text: nats by place inside the chunk"
        yield "nats-in-chunk", title, nats_in_chunk(results)
    if measured(of_benchmark("cost", results)):
        yield "cost", "What reading and answering take", cost_curves(results)


def _of_benchmark(
    benchmark: str, results: Results, seed: int
) -> Iterator[tuple[str, str, figure.Figure]]:
    """Yield a benchmark's score by length, and by the values of every ablation."""
    cells = of_benchmark(benchmark, results)
    main = main_score(cells)
    if main is None:
        return
    if len({cell["n_tokens"] for cell in cells}) > 1:
        title = f"{benchmark}: {main} by length of the document"
        yield f"{benchmark}-length", title, score_by_length(main, cells, results, seed)
    for name in ordered(variant[0] for cell in cells if (variant := variant_of(cell))):
        own = [cell for cell in cells if variant_of(cell)[:1] == (name,)]
        if len({variant_of(cell) for cell in own}) > 1:
            title = f"{benchmark}: {main} by {name}"
            yield f"ablation-{name}-{benchmark}", title, ablation(name, main, own, seed)
