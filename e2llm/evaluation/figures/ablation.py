"""What an ablation found: the score of every value that was tried."""

from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure

from e2llm.evaluation.cells import group_key, score_of, variant_of
from e2llm.evaluation.figures.base import STYLE, Series, line_figure
from e2llm.evaluation.names import SCORES, name_of
from e2llm.evaluation.results import Cell

# What the values of an ablation are, with their units.
VALUES = {
    "understanding-weight": "weight of the task understanding",
    "lora": "parts with LoRA",
    "ratio": "tokens of text per soft token",
    "chunk-chars": "characters per chunk",
    "overlap-chars": "characters that neighbouring chunks share",
    "window": "chunks encoded together",
    "expand": "chunks expanded",
    "chunking": "how chunks are cut",
}


@rc_context(STYLE)
def ablation(name: str, main: str, cells: Sequence[Cell], seed: int) -> Figure:
    """Draw the main score of every variant, with 95 % intervals, in the order of the values."""
    values = sorted({variant_of(cell)[1] for cell in cells}, key=group_key)
    lines: dict[str, list[Cell]] = {}
    for cell in cells:
        # The same method of every variant is one line, also where it names the value.
        spec = cell["method"].removesuffix(f" @ {cell['model']}")
        varied = "=".join(variant_of(cell))
        line = ":".join(name if part == varied else part for part in spec.split(":"))
        lines.setdefault(line, []).append(cell)
    series = []
    for spec, own in lines.items():
        scores = [
            score_of(main, [cell for cell in own if variant_of(cell)[1] == value], seed)
            for value in values
        ]
        points = [(float(at), score) for at, score in enumerate(scores) if score is not None]
        series.append(Series(spec, name_of(spec), points))
    figure, axis = line_figure(VALUES.get(name, name), SCORES.get(main, main), series)
    axis.set_xticks(range(len(values)), values)
    return figure
