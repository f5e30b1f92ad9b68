"""Write the pages that are made from the code: the command line and the tree of files.

python docs/generate.py
"""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
ROOT = DOCS.parent
WIDTH = 100
# Folders of the tree, and what those hold that are no packages.
FOLDERS = {
    "e2llm": "",
    "bench": "Scripts that measure this project itself.",
    "examples": "A document to try things on.",
    "docs": "What makes this site.",
}

CLI = """\
# The command line

`docs/generate.py` writes this page from the code; `make docs` runs it.

Answers go to standard output, everything else to standard error. Exit codes: 0 done, 2 the user's
mistake, 1 a failure, 3 a measurement in part, 130 interrupted ([the errors](python.md#errors)).
`E2LLM_HOME` names the folder of the library and of converted decoders, `E2LLM_MODEL` the pair in
place of `smol`, `E2LLM_DATA` the folder of local data sets.
"""
TREE = """\
# The tree

`docs/generate.py` writes this page from the summaries of the modules' docstrings; `make docs` runs
it. [The design](../design.md) says how the folders work together. `tests/` mirrors `e2llm/`,
`configs/` holds recipes, and `bench/results/` the raw results behind [the results](../results.md).

| folder | what it holds |
|---|---|"""


def cli() -> str:
    """Return the page of the command line: the help of every verb."""
    import typer

    from e2llm.cli import app

    command = typer.main.get_command(app)
    sections = [
        f"## {name}\n\n```text\n{text.rstrip()}\n```\n" for name, text in helps(command, "e2llm")
    ]
    return "\n".join([CLI, *sections])


def helps(command: Any, name: str, parent: Any = None) -> Iterator[tuple[str, str]]:
    """Yield name and help of a command and of the verbs under it, as `e2llm --help` orders them."""
    width = {"terminal_width": WIDTH, "max_content_width": WIDTH, "color": False}
    context = command.context_class(
        command, info_name=name, parent=parent, **{**command.context_settings, **width}
    )
    yield context.command_path, command.get_help(context)
    for verb, child in getattr(command, "commands", {}).items():
        yield from helps(child, verb, context)


def tree() -> str:
    """Return the page of the tree: a table of the folders, then a table of files for each."""
    folders = [
        folder
        for top in FOLDERS
        for folder in sorted({file.parent for file in (ROOT / top).rglob("*.py")})
    ]
    return "\n".join([TREE, *map(row, folders), "", *map(section, folders)])


def row(path: Path) -> str:
    """Return the row of a folder, which leads to its section, or of a file, which leads to it."""
    if path.is_dir():
        name = f"{path.relative_to(ROOT)}/"
        target = "#" + re.sub(r"\W", "", name)
        text = gloss(path / "__init__.py") or FOLDERS.get(name[:-1], "")
    else:
        name, text = path.name, gloss(path)
        target = os.path.relpath(path, DOCS / "reference")
    return f"| [`{name}`]({target}) | {text} |"


def section(folder: Path) -> str:
    """Return the section of a folder: a table of its files."""
    files = [file for file in sorted(folder.glob("*.py")) if file.name != "__init__.py"]
    head = [f"## {folder.relative_to(ROOT)}/\n", "| file | what it holds |", "|---|---|"]
    return "\n".join([*head, *map(row, files), ""])


def gloss(file: Path) -> str:
    """Return the summary of a module's docstring as one line of a table; empty without one."""
    if not file.exists():
        return ""
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.partition("\n\n")[0].split()).replace("|", r"\|")


PAGES = {"reference/cli.md": cli, "reference/tree.md": tree}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
