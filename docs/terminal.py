"""Draw the README's picture of a terminal: what `e2llm ask` prints on the Python reference.

python docs/terminal.py      # runs it with the default pair, then draws docs/figures/terminal.svg
python docs/terminal.py -    # draws what is given on standard input instead
"""

import os
import subprocess
import sys
import tempfile
from io import StringIO
from pathlib import Path

from rich.console import CONSOLE_SVG_FORMAT, Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
FIGURE = ROOT / "docs" / "figures" / "terminal.svg"
NAME = "python-reference.txt"
QUESTION = "What does a return statement do?"
COLUMNS = 80
# No font is fetched: a picture in a README may not, and every machine has one of these.
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
NUMBERS = r"\d[\d,]* (tokens of text|soft tokens|decoder positions)"


def session() -> str:
    """Return what `e2llm ask` prints on the Python reference, as a terminal shows it."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as folder:
        with open(Path(folder) / NAME, "w") as file:
            reference = [sys.executable, str(ROOT / "examples" / "python_reference.py")]
            subprocess.run(reference, stdout=file, check=True, env=environ)
        ask = [sys.executable, "-m", "e2llm", "ask", NAME, "-q", QUESTION, "--no-store"]
        merged = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        run = subprocess.run(ask, **merged, check=True, env=environ, cwd=folder, text=True)
    return run.stdout


def draw(printed: str) -> str:
    """Return the picture of a session: the command, then what it printed."""
    console = Console(record=True, width=COLUMNS, file=StringIO(), highlight=False)
    console.print(
        Text.assemble(("$ ", "bold green"), (f'e2llm ask {NAME} -q "{QUESTION}"', "bold"))
    )
    for line in printed.splitlines():
        aside = line.startswith(("e2llm: ", "Reading ", "["))
        text = Text(line, style="bright_black" if aside else "bold bright_white")
        if aside:
            text.highlight_regex(NUMBERS, "cyan")
        console.print(text)
    console.print()  # room below the last line, whose descenders would be cut off
    # What rich fetches stands between the start of the style and its first rule.
    before, _, after = CONSOLE_SVG_FORMAT.partition("@font-face")
    plain = before + after[after.index(".{unique_id}-matrix") :]
    plain = plain.replace("Fira Code, monospace", FONT)
    return console.export_svg(title="e2llm ask", code_format=plain, unique_id="terminal")


if __name__ == "__main__":
    printed = sys.stdin.read() if sys.argv[1:] == ["-"] else session()
    FIGURE.parent.mkdir(exist_ok=True)
    FIGURE.write_text(draw(printed), encoding="utf-8")
