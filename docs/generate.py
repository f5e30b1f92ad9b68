"""Write the pages that are made from the code: `docs/cli.md`, the help of every verb.

python docs/generate.py
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from e2llm.cli import app

PAGE = Path(__file__).parent / "cli.md"
WIDTH = 110
INTRODUCTION = """\
# The command line

`docs/generate.py` writes this page from the code; `make docs` runs it.

Answers go to standard output, everything else to standard error. Exit codes: 0 done, 2 the user's mistake, 1 a failure, 130 interrupted
([the errors](python.md#errors)). `E2LLM_HOME` names the folder of the library and of converted decoders, `E2LLM_MODEL` the pair in place of `smol`.
"""


def helps(command: Any, name: str, parent: Any = None) -> Iterator[tuple[str, str]]:
    """Yield the full name and the help text of a command and of every verb under it, in the order
    of `e2llm --help`.
    """
    width = {"terminal_width": WIDTH, "max_content_width": WIDTH, "color": False}
    context = command.context_class(
        command, info_name=name, parent=parent, **{**command.context_settings, **width}
    )
    yield context.command_path, command.get_help(context)
    for verb, child in getattr(command, "commands", {}).items():
        yield from helps(child, verb, context)


def page() -> str:
    """Return the page."""
    command = typer.main.get_command(app)
    sections = [
        f"## {name}\n\n```text\n{text.rstrip()}\n```\n" for name, text in helps(command, "e2llm")
    ]
    return "\n".join([INTRODUCTION, *sections])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
