"""Results on disk: JSON Lines, a new file for every run, never overwritten.

No torch here.

The first line of a file tells of the run: configuration, commit, versions, machine, seed. Every
other line is a cell, which is one method on one sample, or names a method or benchmark that could
not be had. A run that goes on begins a file of its own and leaves out the cells that are there.
"""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

from e2llm.errors import UserError

SUFFIX = ".jsonl"
# What the runs of one folder have in common.
FIXED = ("model", "digest", "scale", "seed")
Cell = dict[str, Any]


@dataclass
class Results:
    """What a folder holds.

    Attributes:
        runs: The first line of every file, in the order of the files.
        cells: One line for every method and sample, the last where there are several.
        missing: Names of methods and benchmarks that could not be had, and why.
    """

    runs: list[dict[str, Any]] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)


def read_results(folder: Path) -> Results:
    """Read every file of a folder; a last line that an interrupt left half written is dropped.

    Raises:
        UserError: There are none, or another line is damaged.
    """
    results, cells = Results(), {}
    paths = sorted(folder.glob(f"*{SUFFIX}"))
    if not paths:
        raise UserError(
            f"`{folder}` holds no results; name a folder that `e2llm evaluate -o` wrote."
        )
    for path in paths:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        for number, line in enumerate(lines, 1):
            try:
                content = json.loads(line)
                kind = content.pop("kind")
            except (ValueError, KeyError, AttributeError) as error:
                # An interrupted run leaves its last line cut short; it is run again.
                if number == len(lines):
                    continue
                raise UserError(
                    f"`{path}`, line {number} is no result; take the line out, or restore the file."
                ) from error
            if kind == "run":
                results.runs.append(content)
            elif kind == "missing":
                results.missing[content["name"]] = content["reason"]
            else:
                # The last one counts where a cell was run twice.
                cells[key(content)] = content
    results.cells = list(cells.values())
    # What could not be had in one run and was had in another is not missing.
    results.missing = {
        name: reason
        for name, reason in results.missing.items()
        if not any(name in (c["method"], c["benchmark"]) for c in results.cells)
    }
    return results


def key(cell: Mapping[str, Any]) -> str:
    """Return what tells a cell from every other of its folder."""
    return json.dumps(
        [cell["method"], cell["settings"], cell["benchmark"], cell["sample"], cell["digest"]]
    )


class Writer:
    """Append the lines of one run to a new file of a folder, each as soon as it is there."""

    def __init__(self, folder: Path, run: Mapping[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Microseconds: two runs into one folder never share a file.
        self.path = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}{SUFFIX}"
        self._file = open(self.path, "x", encoding="utf-8")  # noqa: SIM115 - closed by __exit__
        self.write("run", run)

    def write(self, kind: str, content: Mapping[str, Any]) -> None:
        """Append a line."""
        self._file.write(json.dumps({"kind": kind, **content}, ensure_ascii=False) + "\n")
        # At once, so that an interrupt costs one cell at most.
        self._file.flush()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


def where() -> dict[str, Any]:
    """Say on what a run runs: commit, versions, machine."""
    here = Path(__file__).parent
    try:
        # The commit of the package, not of the folder that the user stands in.
        command = ["git", "describe", "--always", "--dirty"]
        commit = subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=here
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = None
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    cpu = next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )
    versions = {"python": platform.python_version()}
    for package in ("e2llm", "torch", "transformers", "numpy", "rouge-score"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "none"
    machine = {"system": platform.system(), "cpu": cpu, "cores": os.cpu_count()}
    return {
        "commit": commit,
        "versions": versions,
        "machine": machine,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
