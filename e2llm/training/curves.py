"""Draw a run's losses from its logs."""

import json
from pathlib import Path
from typing import Any

from e2llm.errors import MissingPackageError
from e2llm.training.trainer import LOG_FILE

CURVES_FILE = "curves.png"


def plot(output: Path) -> Path:
    """Draw training and validation losses of every stage, per task and ratio, into `curves.png`; return its path.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise MissingPackageError("curves need matplotlib: pip install 'e2llm[train]'.") from error
    logs = [read_log(file) for file in sorted(output.glob(f"*/{LOG_FILE}"))]
    logs = [lines for lines in logs if lines]
    figure, rows = pyplot.subplots(max(1, len(logs)), 1, figsize=(9, 3.6 * max(1, len(logs))), squeeze=False)
    for (axis,), lines in zip(rows, logs, strict=False):
        keys = sorted({key for line in lines for key in line if "@" in key})
        colours: dict[str, Any] = {}
        for key in keys:
            points = [(line["step"], line[key]) for line in lines if key in line]
            name, held_out = key.removeprefix("eval_"), key.startswith("eval_")
            style = {"linewidth": 2, "marker": "."} if held_out else {"linewidth": 0.7, "alpha": 0.5}
            colour = colours.setdefault(name, f"C{len(colours) % 10}")
            axis.plot(*zip(*points, strict=True), color=colour, label=f"{name} (validation)" if held_out else None, **style)
        axis.set(title=lines[0]["stage"], xlabel="step", ylabel="loss")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))
    figure.tight_layout()
    figure.savefig(output / CURVES_FILE, dpi=120)
    pyplot.close(figure)
    return output / CURVES_FILE


def read_log(file: Path) -> list[dict[str, Any]]:
    """Read the lines of a stage's log; one that an interruption cut short is left out."""
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines
