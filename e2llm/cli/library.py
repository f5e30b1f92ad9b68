"""`e2llm library`: list, rename and delete stored documents, and limit what they take."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from e2llm.cli import options
from e2llm.cli.documents import parse_bytes
from e2llm.cli.loading import open_library
from e2llm.cli.terminal import say

if TYPE_CHECKING:
    from e2llm.documents.library import Entry

app = typer.Typer(
    help="List, rename, delete and limit stored documents.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Name = Annotated[
    str,
    typer.Argument(help="A stored document's name, or the first six or more digits of its key."),
]


@app.command("list")
def list_(library: options.LibraryFolder = None, as_json: options.Json = False) -> None:
    """List stored documents."""
    shelf = open_library(library)
    _print(shelf.entries(), as_json)
    if not as_json:
        say(f"{len(shelf.entries())} documents, {shelf.n_bytes / 10**6:.1f} MB.")


@app.command()
def rename(
    name: Name,
    new_name: Annotated[str, typer.Argument(help="What it is called from now on.")],
    library: options.LibraryFolder = None,
) -> None:
    """Rename a stored document."""
    _print(open_library(library).rename(name, new_name), False)


@app.command()
def delete(
    names: Annotated[list[str], typer.Argument(help="Names of stored documents.")],
    library: options.LibraryFolder = None,
) -> None:
    """Delete stored documents; the files that they were read from stay."""
    shelf = open_library(library)
    for name in names:
        say(f"{name}: {len(shelf.delete(name))} deleted.")


@app.command()
def limit(
    size: Annotated[str, typer.Argument(help='Bytes, such as 500M or 2G; "none" for no limit.')],
    library: options.LibraryFolder = None,
) -> None:
    """Limit the library's size; beyond it the documents that were used least recently go."""
    n_bytes = None if size.lower() == "none" else parse_bytes("SIZE", size, ', or "none"')
    evicted = open_library(library).limit(n_bytes)
    say(f"Limited to {size}; {len(evicted)} documents went.")


def _print(entries: list["Entry"], as_json: bool) -> None:
    if as_json:
        print(json.dumps([asdict(entry) for entry in entries], ensure_ascii=False))
        return
    for entry in entries:
        print(
            f"{entry.key[:12]}  {entry.name}  {entry.n_tokens:,} tokens  {entry.n_soft:,} "
            f"soft  ratio {entry.ratio}  {entry.n_bytes / 10**6:.1f} MB"
        )
