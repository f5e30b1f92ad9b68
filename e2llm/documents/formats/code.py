"""Source code as it stands; its records are functions and classes, with the comments above them.

They are told by empty lines and indents, in every language alike: a parser for each is heavy, and
Python's own finds hardly better cuts (see LOG.md).
"""

import re
from collections.abc import Sequence
from itertools import pairwise

from e2llm.documents.formats.base import Content, Format
from e2llm.documents.formats.records import RECORD_CHARS, decode_lines
from e2llm.documents.formats.splitting import line_starts, split_at

_SUFFIXES = (
    ".py .pyi .pyw .c .h .cc .cpp .cxx .hh .hpp .cs .java .kt .kts .scala .groovy .gradle .go "
    ".rs .swift .m .mm "
    ".js .mjs .cjs .jsx .ts .tsx .vue .css .scss .less .rb .pl .pm .lua .r .jl .dart .ex .exs .erl "
    ".hs .ml .mli .fs .clj .lisp .el .scm .sh .bash .zsh .fish .ps1 .bat .sql .proto .graphql .tf "
    ".cmake .mk .toml .ini .cfg .conf .properties .vim .f90 .f .pas .vb .asm .s .v .vhd .sol .zig "
    ".nim .diff .patch"
)
# What goes on with the lines above it, though it may stand after an empty line.
_GOES_ON = re.compile(
    r"\s*(?:[)}\]]|(?:end|else|elif|elsif|except|catch|finally|then|do|fi|done)\b)"
)
_CLOSES = re.compile(r"\s*(?:[)}\]]+[;,]?|end\b\W?.*)\s*$")


def read_code(data: bytes, encoding: str | None) -> Content:
    """Return source code; its records are what stands between empty lines without an indent."""
    text, notices = decode_lines(data, encoding or _declared(data))
    return Content([split_code(text)], notices=notices)


def split_code(text: str) -> list[str]:
    """Return the pieces of a program at its outermost blocks, and of long ones at those in them."""
    lines = text.split("\n")
    starts = line_starts(lines)
    cuts: list[int] = []
    todo = [(0, len(lines), 0)]
    while todo:
        begin, end, indent = todo.pop()
        cuts.append(begin)
        if starts[end] - starts[begin] <= RECORD_CHARS:
            continue
        inner = _find_blocks(lines, begin, end, indent)
        if inner:
            todo += [(*piece, indent) for piece in pairwise([begin, *inner, end])]
        elif deeper := [own for line in lines[begin + 1 : end] if (own := _indent(line)) > indent]:
            todo.append((begin, end, min(deeper)))
    return split_at(text, [starts[number] for number in cuts])


def _find_blocks(lines: Sequence[str], begin: int, end: int, indent: int) -> list[int]:
    """Return the lines after the first at which blocks of an indent begin."""
    return [
        number
        for number in range(begin + 1, end)
        if _indent(lines[number]) == indent
        and not _GOES_ON.match(lines[number])
        and (not lines[number - 1].strip() or _closes(lines[number - 1], indent))
    ]


def _closes(line: str, indent: int) -> bool:
    return _indent(line) == indent and _CLOSES.match(line) is not None


def _indent(line: str) -> int:
    """Return the indent of a line, a tab as eight characters; -1 where it is empty."""
    own = line.expandtabs(8)
    return len(own) - len(own.lstrip()) if own.strip() else -1


def _declared(data: bytes) -> str | None:
    """Return the encoding that the first two lines declare, as those of Python, Ruby and Emacs."""
    for line in data.split(b"\n", 2)[:2]:
        if match := re.match(rb"[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)", line):
            name = match[1].decode("ascii", "replace")
            return None if name.lower().startswith("utf") else name
    return None


CODE = Format("code", tuple(_SUFFIXES.split()), read_code)
