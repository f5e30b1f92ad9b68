"""The new folder that a verb writes, whole or not at all."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2llm.errors import E2LLMError, UserError


def check_new(output: Path) -> None:
    """Raise `UserError` unless `output` can become a new folder."""
    if output.is_dir() and any(output.iterdir()):
        raise UserError(f"`--output` (={output}) is not empty; name a new folder.")
    if output.exists() and not output.is_dir():
        raise UserError(f"`--output` (={output}) is a file; name a new folder.")


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """Yield a folder to write to, which becomes `output` once the block has ended well.

    Nothing half written ever has that name.

    Raises:
        E2LLMError: The disk is full, or the folder may not be written.
    """
    output = output.absolute()
    temporary = output.with_name(f".{output.name}-{uuid.uuid4().hex}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        _publish(temporary, output)
    except Exception as error:
        from safetensors import SafetensorError

        if not isinstance(error, OSError | SafetensorError):
            raise
        raise E2LLMError(
            f"`--output` (={output}) cannot be written ({error}); choose another place."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _publish(temporary: Path, output: Path) -> None:
    # safetensors makes its files for their owner alone.
    for weights in temporary.glob("*.safetensors"):
        shutil.copymode(temporary / "config.json", weights)
    # An empty folder may be the one that the user is in, so it must stay the same one.
    if output.is_dir():
        for item in temporary.iterdir():
            item.rename(output / item.name)
    else:
        temporary.rename(output)
