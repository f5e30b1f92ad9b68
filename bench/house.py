"""Count what a newcomer sees first: long lines, README, comments, long files.

    python bench/house.py [--rev REV]

Counted are the files that git knows or does not ignore, in characters:

- lines over 100 columns: of the lines that are not blank, in Python and in Markdown prose; tables
  and fenced blocks of Markdown are left out;
- README: words (runs of letters, digits and underscores), numbers, and lines that begin with "|";
- comment lines per code line: lines of the package with a comment, alone or behind code, against
  lines with code, docstrings left out;
- the longest file of the package; files over 350 lines and functions over 60 of all Python.

`--rev` sets another revision beside it. Nothing is run and nothing is written: the revision can
always be counted again. It ends with one line of JSON.
"""

import argparse
import ast
import io
import json
import re
import subprocess
import tarfile
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE, README = "e2llm/", "README.md"
COLUMNS, FILE_LINES, FUNCTION_LINES = 100, 350, 60
DOCSTRING = ('"""', 'r"""')
# What is no code of its own: the ends of lines and of blocks.
LAYOUT = {
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def git(*arguments: str) -> bytes:
    """Return what git says."""
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout


def texts(rev: str | None = None) -> dict[str, str]:
    """Return the Python and Markdown files of a revision, or of the working tree, by their path."""
    if rev is None:
        listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard").decode()
        paths = [path for path in dict.fromkeys(listed.split("\0")) if (ROOT / path).is_file()]
        contents = {path: (ROOT / path).read_bytes() for path in paths if _counts(path)}
    else:
        with tarfile.open(fileobj=io.BytesIO(git("archive", "--format=tar", rev))) as archive:
            files = [file for file in archive if file.isfile() and _counts(file.name)]
            contents = {file.name: archive.extractfile(file).read() for file in files}
    return {path: content.decode("utf-8") for path, content in sorted(contents.items())}


def _counts(path: str) -> bool:
    return path.endswith((".py", ".md"))


def prose(markdown: str) -> Iterator[str]:
    """Yield the lines of Markdown that are in no table and in no fenced block."""
    fence = ""
    for line in markdown.splitlines():
        mark = re.match(r"\s*(```+|~~~+)", line)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence) and line.strip() == mark[1]:
            fence = ""
        elif not fence and not line.lstrip().startswith("|"):
            yield line


def comments_and_code(python: str) -> tuple[int, int]:
    """Return how many lines have a comment, and how many have code."""
    comments, code = set(), set()
    for token in tokenize.generate_tokens(io.StringIO(python).readline):
        if token.type == tokenize.COMMENT:
            comments.add(token.start[0])
        elif token.type not in LAYOUT and not token.string.startswith(DOCSTRING):
            code.update(range(token.start[0], token.end[0] + 1))
    return len(comments), len(code)


def long_functions(python: str) -> list[str]:
    """Return the names of the functions that have too many lines, the decorators not counted."""
    return [
        node.name
        for node in ast.walk(ast.parse(python))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno + 1 > FUNCTION_LINES
    ]


def count(tree: dict[str, str]) -> dict[str, object]:
    """Return every row of the table for the files of a tree."""
    python = {path: text for path, text in tree.items() if path.endswith(".py")}
    package = {path: text for path, text in python.items() if path.startswith(PACKAGE)}
    lines = [line for text in python.values() for line in text.splitlines()]
    lines += [line for path, text in tree.items() if path not in python for line in prose(text)]
    lines = [line for line in lines if line.strip()]
    n_long = sum(len(line) > COLUMNS for line in lines)
    pairs = [comments_and_code(text) for text in package.values()]
    n_comments, n_code = map(sum, zip(*pairs, strict=True))
    readme = tree.get(README, "")
    n_lines = {path: len(text.splitlines()) for path, text in python.items()}
    longest = max(package, key=lambda path: n_lines[path])
    return {
        "lines over 100 columns, %": round(100 * n_long / len(lines), 1),
        "README: words": len(re.findall(r"\w+", readme)),
        "README: numbers": len(re.findall(r"\d[\d,.]*", readme)),
        "README: table rows": sum(line.startswith("|") for line in readme.splitlines()),
        "comment lines per code line": round(n_comments / n_code, 3),
        "longest file of the package, lines": n_lines[longest],
        "longest file of the package": longest,
        "files over 350 lines": sum(own > FILE_LINES for own in n_lines.values()),
        "functions over 60 lines": sum(len(long_functions(text)) for text in python.values()),
    }


def main() -> None:
    """Count, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rev", help="another revision to set beside this tree")
    given = parser.parse_args()
    trees = {given.rev: count(texts(given.rev))} if given.rev else {}
    trees["this tree"] = count(texts())
    print(f"| | {' | '.join(trees)} |\n|{'---|' * (len(trees) + 1)}")
    for row in trees["this tree"]:
        print(f"| {row} | {' | '.join(str(own[row]) for own in trees.values())} |")
    commit = git("describe", "--always", "--dirty").decode().strip()
    print(json.dumps({"benchmark": "house", "commit": commit, **trees}))


if __name__ == "__main__":
    main()
