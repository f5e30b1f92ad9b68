"""Files as people have them, and what reading each must give: a module for each kind of file.

`docs/formats.md` is the table of all of them; `test_cases.py` writes and checks it.
"""

import importlib
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Make(Protocol):
    """Write the file at a path."""

    def __call__(self, path: Path) -> object: ...


@dataclass(frozen=True)
class Case:
    """One file, made on the spot, and what is read of it.

    Attributes:
        what: What there is to see in it, for the table, e.g. "footnote".
        file: Its name.
        make: Writes it, by the library that people's programs are nearest to.
        holds: Pieces that its text must have, in this order.
        lacks: Pieces that its text must not have.
        notices: Of each notice a piece, in order.
        refused: A piece of the error where it is refused.
        n_pages: Number of its pages, where it has any.
    """

    what: str
    file: str
    make: Make
    holds: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    refused: str | None = None
    n_pages: int = 0


def raw(data: bytes) -> Make:
    """Return what writes these bytes."""

    def make(path: Path) -> None:
        path.write_bytes(data)

    return make


def kinds() -> dict[str, list[Case]]:
    """Return the cases by the module that has them."""
    names = sorted(found.name for found in pkgutil.iter_modules(__path__))
    return {name: importlib.import_module(f"{__name__}.{name}").CASES for name in names}
