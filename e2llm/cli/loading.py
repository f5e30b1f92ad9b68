"""What a verb opens by name: a pair, its tokenizers alone, the library."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2llm.cli.terminal import quiet, status
from e2llm.errors import UserError

if TYPE_CHECKING:
    from e2llm.documents.library import Library
    from e2llm.model import E2LLMProcessor
    from e2llm.pair import E2LLM


def load_model(
    name: str,
    dtype: str | None = None,
    device: str | None = None,
    trust_remote_code: bool = False,
) -> "E2LLM":
    """Load a pair quietly, with a word on the screen while it takes."""
    with status(f"Loading {name} ..."), uncollected():
        quiet()
        from e2llm.pair import E2LLM

        options: dict[str, Any] = {"trust_remote_code": True} if trust_remote_code else {}
        return E2LLM.from_pretrained(name, dtype=dtype, device=device, **options)


def load_processor(name: str) -> "E2LLMProcessor":
    """Load a pair's tokenizers, without its weights."""
    quiet()
    from e2llm.model import E2LLMConfig
    from e2llm.model.checkpoint import load_processor
    from e2llm.pairs import find_pair

    path = find_pair(name)
    try:
        config = E2LLMConfig.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"`--model` (={name!r}) is no pair; name a folder that `e2llm pair` made, a hub "
            "name, or a shipped pair."
        ) from error
    return load_processor(path, config)


def open_library(folder: Path | None) -> "Library":
    """Open the library in `folder`, or in the default place."""
    with uncollected():
        from e2llm.documents.library import Library

    return Library(folder)


@contextmanager
def uncollected() -> Iterator[None]:
    """Put the garbage collector off while modules and vocabularies are loaded.

    They stay, and they are so many objects that going over them again and again takes a sixth of
    the time from the command to the answer.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
