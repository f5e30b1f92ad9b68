"""How the command line talks: answers to standard output, the rest to error.

A line is said with `say`; a progress bar and a status show on a terminal alone.
"""

import importlib
import logging
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.status import Status
from rich.text import Text

# What `evaluate` and `ablate` end with where a method or a benchmark could not be had.
MISSING_CODE = 3
console = Console(stderr=True, highlight=False, soft_wrap=True)


def say(message: str) -> None:
    """Print one line to standard error."""
    # Not the string, in which brackets are mark-up and :smile: is an emoji.
    console.print(Text(message))


def status(message: str) -> Status:
    """Return a context that shows a message on a terminal while it lasts."""
    return console.status(Text(message))


def progress_bar(*columns: ProgressColumn, transient: bool = True) -> Progress:
    """Return a progress bar that shows on a terminal alone.

    Args:
        columns: What stands between the bar and the time left.
        transient: Whether it goes once it has ended.
    """
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=transient,
        disable=not console.is_terminal,
    )


def report_missing(missing: dict[str, str]) -> None:
    """Say which methods and benchmarks could not be had, and end with their exit code.

    Nothing happens where there are none.
    """
    for name, reason in missing.items():
        say(f"e2llm: {name} could not be had: {reason}")
    if missing:
        raise typer.Exit(MISSING_CODE)


def quiet() -> None:
    """Silence the progress bars and advice of the libraries underneath.

    This package's own warnings stay, one line each.
    """
    import warnings

    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    # PEFT imports it wherever it is installed, and it has advice about kernels.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("e2llm: %(message)s"))
    logger = logging.getLogger("e2llm")
    logger.handlers, logger.propagate = [handler], False
    # What the pair has to say comes with the answer, as a notice.
    warnings.simplefilter("ignore")


def quiet_datasets() -> None:
    """Let `datasets` say nothing but how far it is, and that on a terminal alone.

    What goes wrong is raised.
    """
    try:
        datasets: Any = importlib.import_module("datasets")
    except ImportError:
        return  # which opening the source explains
    if not console.is_terminal:
        datasets.disable_progress_bars()
    for name in ("datasets", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
