"""A run's losses as curves, drawn from its logs."""

from pathlib import Path
from typing import Any

from e2llm.errors import MissingPackageError
from e2llm.training.log import LOG_FILE, read_log

CURVES_FILE = "curves.png"


def plot(output: Path) -> Path:
    """Draw the losses of a run into `curves.png` and return its path.

    It has a row per stage, a picture per task and a line per ratio, thick for the validation.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    try:
        import matplotlib

        matplotlib.use("Agg")  # no window is opened
        from matplotlib import pyplot
    except ImportError as error:
        raise MissingPackageError("curves need matplotlib: pip install 'e2llm[train]'.") from error
    logs = [read_log(file) for file in sorted(output.glob(f"*/{LOG_FILE}"))]
    logs = [lines for lines in logs if lines]
    keys = [sorted({key for line in lines for key in line if "@" in key}) for lines in logs]
    tasks = [list(dict.fromkeys(map(_task_of, own))) for own in keys]
    n_rows, n_columns = max(1, len(logs)), max([1, *map(len, tasks)])
    figure, axes = pyplot.subplots(
        n_rows, n_columns, figsize=(max(6.0, 3.2 * n_columns), 3.2 * n_rows), squeeze=False
    )
    # A figure has one row at least; without any log nothing stands in it.
    for axis in axes.flat[n_columns * len(logs) :]:
        axis.axis("off")
    for row, lines, own, names in zip(axes, logs, keys, tasks, strict=False):
        # A stage with fewer tasks than another leaves places empty.
        for axis in row[len(names) :]:
            axis.axis("off")
        for axis, name in zip(row, names, strict=False):
            _draw(axis, lines, [key for key in own if _task_of(key) == name])
            axis.set(title=f"{lines[0]['stage']}: {name}", xlabel="step", ylabel="loss")
    figure.tight_layout()
    figure.savefig(output / CURVES_FILE, dpi=120)
    pyplot.close(figure)
    return output / CURVES_FILE


def _task_of(key: str) -> str:
    """Return the task of a key in the log, such as "eval_recall@4"."""
    return key.removeprefix("eval_").split("@")[0]


def _draw(axis: Any, lines: list[dict[str, Any]], keys: list[str]) -> None:
    """Draw one task's losses, a colour per ratio."""
    # "chunk" comes after the numbers.
    ratios = sorted(
        {key.split("@")[1] for key in keys},
        key=lambda ratio: (ratio == "chunk", float(ratio) if ratio != "chunk" else 0.0),
    )
    validated = any(key.startswith("eval_") for key in keys)
    for key in keys:
        points = [(line["step"], line[key]) for line in lines if key in line]
        ratio, held_out = key.split("@")[1], key.startswith("eval_")
        style: dict[str, Any] = {"linewidth": 0.7, "alpha": 0.5}
        if held_out or not validated:  # the thin lines of training need no names beside these
            label = f"ratio {ratio}" + (" (validation)" if held_out else "")
            style = {"linewidth": 2, "marker": ".", "label": label}
        color = f"C{ratios.index(ratio) % 10}"
        axis.plot(*zip(*points, strict=True), color=color, **style)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=6)
