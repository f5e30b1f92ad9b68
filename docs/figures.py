"""Draw the figures of the documentation from the results in `bench/results`.

    python docs/figures.py

`docs/figures/smol-curves.png` alone is not drawn here: the log of that training was not kept.
"""

import json
from functools import partial
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from e2llm.evaluation.cells import measured, of_benchmark, variant_of
from e2llm.evaluation.figures.ablation import ablation
from e2llm.evaluation.figures.base import BLUE, GREY, STYLE, VERMILLION, one_axis, save
from e2llm.evaluation.figures.cost import by_length, cost_curves
from e2llm.evaluation.figures.nats import nats_in_chunk
from e2llm.evaluation.figures.needle import needle_map
from e2llm.evaluation.results import Results, key

FOLDER = Path(__file__).parent / "figures"
RESULTS = Path(__file__).parent.parent / "bench" / "results"


def read(name: str) -> Results:
    """Read the newest file of results of a name; every cell carries the model of its run.

    What was measured stands before what could not run.
    """
    results, cells = Results(), {}
    for line in max(RESULTS.glob(f"{name}-*.jsonl")).read_text(encoding="utf-8").splitlines():
        content = json.loads(line)
        kind = content.pop("kind")
        if kind == "run":
            results.runs.append(content)
        elif kind == "cell":
            model = results.runs[-1]["model"]
            if (model, key(content)) not in cells or "skipped" not in content:
                cells[model, key(content)] = content | {"model": model}
    results.cells = list(cells.values())
    return results


def needle() -> Figure:
    """Draw the score of one needle by depth and length."""
    results = read("evaluate-samples")
    cells = [
        cell for cell in of_benchmark("needle", results) if cell["groups"].get("depth") is not None
    ]
    return needle_map(cells, results)


def expand() -> Figure:
    """Draw the score on SQuAD by the number of expanded chunks."""
    cells = of_benchmark("squad", read("ablate"))
    return ablation("expand", "f1", [c for c in cells if variant_of(c)[:1] == ("expand",)], seed=0)


@rc_context(STYLE)
def first_token() -> Figure:
    """Draw the seconds to the first token by the document's length.

    Two lines: E2LLM on a stored document, and the decoder that reads the whole text, which ends
    with its window.
    """
    cells = [
        cell
        for cell in measured(of_benchmark("cost", read("evaluate-cost")))
        if cell["method"] in ("e2llm", "full-text")
    ]
    figure, axis = one_axis("length of the document, tokens", "seconds to the first token")
    places = {}
    for spec, colour in (("e2llm", BLUE), ("full-text", VERMILLION)):
        own = [cell for cell in cells if cell["method"] == spec]
        points = sorted((cell["n_tokens"], cell["first_token_s"]) for cell in own)
        axis.plot(*zip(*points, strict=True), "o-", color=colour, linewidth=2.5, markersize=5)
        places[spec] = points
    axis.set(yscale="log", ylim=(0.4, 60), xlim=(700, 700_000))
    by_length(axis, sorted({cell["groups"]["length"] for cell in cells}))
    axis.set_yticks([0.5, 1, 2, 5, 10, 20, 50])
    # Labels stand at the lines, in points from the one that they are about.
    end, middle = places["full-text"][-1], places["e2llm"][-6]
    label = partial(axis.annotate, textcoords="offset points", va="center")
    label("The whole text", end, (10, 8), color=VERMILLION, fontsize=12)
    label("ends where the decoder's window is full", end, (10, -7), color=GREY, fontsize=10)
    label("E2LLM on a stored document", middle, (0, -18), color=BLUE, fontsize=12)
    return figure


FIGURES = {
    "first-token": first_token,
    "needle": needle,
    "expand": expand,
    "nats-in-chunk": lambda: nats_in_chunk(read("evaluate-reconstruction")),
    "cost": lambda: cost_curves(read("evaluate-cost")),
}


def draw(folder: Path) -> None:
    """Draw every figure into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in FIGURES.items():
        save(make(), folder / f"{name}.svg", "svg")


if __name__ == "__main__":
    draw(FOLDER)
