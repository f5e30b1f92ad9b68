"""Checkpoints on disk: written whole or not at all, found again, loaded."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from e2llm.errors import E2LLMError
from e2llm.training.processes import is_main_process

TRAINED_FILE = "trained.safetensors"
COMPLETE_FILE = "complete"  # the mark of a folder whose files are all there


def load_trained(model: nn.Module, folder: str | os.PathLike[str]) -> None:
    """Load what a checkpoint holds into the model.

    Raises:
        E2LLMError: The file is damaged or of another run.
    """
    try:
        state = load_file(Path(folder) / TRAINED_FILE)
        # Not strict: the file holds what is trained, and nothing of the frozen parts.
        _, unexpected = model.load_state_dict(state, strict=False)
    except Exception as error:  # safetensors and torch have several for a damaged file
        raise E2LLMError(
            f"`{folder}` cannot be loaded ({' '.join(str(error).split())[:200]}); delete it "
            "to go on from the checkpoint before."
        ) from error
    if unexpected:
        raise E2LLMError(
            f"`{folder}` holds {unexpected[0]!r}, which the model has not; it is of another "
            "run: use another `output`."
        )


def last_checkpoint(folder: str | os.PathLike[str]) -> str | None:
    """Return the newest whole checkpoint of a stage, and delete those that are half written."""
    found = []
    for path in Path(folder).glob("checkpoint-*"):
        if (path / COMPLETE_FILE).exists():
            found.append(path)
        elif path.is_dir() and is_main_process():  # the others would delete it at the same time
            shutil.rmtree(path, ignore_errors=True)
    # By number: as text, checkpoint-90 would come after checkpoint-100.
    return str(max(found, key=lambda path: int(path.name.split("-")[-1]))) if found else None


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what a full disk makes of the libraries into one error.

    Raises:
        E2LLMError: The folder cannot be written.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        # torch's writer of zip files is known by its name in the message alone.
        if isinstance(error, RuntimeError) and "inline_container" not in str(error):
            raise
        reason = " ".join(str(error).split())[:200]
        raise E2LLMError(
            f"`{folder}` cannot be written ({reason}); free some space, then --resume: what "
            "was whole before still is."
        ) from error


def mark_complete(folder: Path) -> None:
    """Sync a folder's files, then write the mark that says that all are there."""
    # Without the sync a power cut could leave the mark and lose what it stands for.
    for path in [*folder.iterdir(), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    (folder / COMPLETE_FILE).touch()


def mark_complete_stage(folder: Path) -> None:
    """Say that a stage is whole, and delete its checkpoints: the folder itself holds the best."""
    for path in list(folder.glob("checkpoint-*")):
        shutil.rmtree(path, ignore_errors=True)
    mark_complete(folder)
