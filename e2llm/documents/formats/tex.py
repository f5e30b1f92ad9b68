"""TeX and LaTeX as they are written, since decoders read it: formulas, sections and references.

Comments are left out, for they are no part of what is printed, and of the preamble everything but
the title and the names that it defines.
"""

import re
from collections.abc import Iterator

from e2llm.documents.formats.base import Content, Format
from e2llm.documents.formats.records import count, decode_lines
from e2llm.documents.formats.splitting import split_at

_BEGIN = re.compile(r"^[^%\n]*\\begin\s*\{document\}[ \t]*\n?", re.MULTILINE)
_END = re.compile(r"^[^%\n]*?\\end\s*\{document\}", re.MULTILINE)
_VERBATIM = re.compile(
    r"\\(begin|end)\s*\{(?:verbatim|lstlisting|minted|comment|Verbatim|alltt)\*?\}"
)
# A comment runs to the end of its line; with nothing before it the line goes with it.
_COMMENT = re.compile(r"(?<!\\)((?:\\\\)*)%.*")
_KEPT = re.compile(
    r"\\(?:title|author|date|subtitle|institute|newcommand|renewcommand|providecommand|def|"
    r"DeclareMathOperator|newtheorem|newacronym|newglossaryentry)\b"
)
_INPUT = re.compile(r"\\(?:input|include|subfile)\s*\{([^{}\n]+)\}")
_PICTURE = re.compile(r"\\includegraphics\b")
_SECTION = re.compile(
    r"^[ \t]*\\(?:part|chapter|(?:sub)*section|paragraph|begin\{(?:abstract|thebibliography)\})\b",
    re.MULTILINE,
)


def read_tex(data: bytes, encoding: str | None) -> Content:
    """Return the text of a TeX file without its comments; its records are its sections."""
    text, notices = decode_lines(data, encoding)
    said = list(notices)
    text, n_comments = _without_comments(text)
    if begin := _BEGIN.search(text):
        preamble, text = text[: begin.start()], text[begin.end() :]
        kept = list(_kept(preamble))
        text = "".join(line + "\n" for line in kept) + ("\n" if kept else "") + text.lstrip("\n")
        if end := _END.search(text):
            text = text[: end.start()].rstrip() + "\n"
        if n_left := sum(bool(line.strip()) for line in preamble.split("\n")) - sum(
            line.count("\n") + 1 for line in kept
        ):
            said.append(f"{count(n_left, 'line')} of its preamble left out")
    if n_comments:
        said.append(f"{count(n_comments, 'comment')} left out")
    if inputs := list(dict.fromkeys(_INPUT.findall(text))):
        names = ", ".join(inputs[:4]) + (" ..." if len(inputs) > 4 else "")
        said.append(f"{count(len(inputs), 'file')} that it includes not read: {names}")
    if n_pictures := len(_PICTURE.findall(text)):
        said.append(f"{count(n_pictures, 'picture')} not read")
    starts = [match.start() for match in _SECTION.finditer(text)]
    return Content([split_at(text, starts)], notices=tuple(said))


def _without_comments(text: str) -> tuple[str, int]:
    """Return a text without its comments, those in verbatim kept, and how many there were."""
    lines: list[str] = []
    n_comments = 0
    verbatim = False
    for line in text.split("\n"):
        match = None if verbatim else _COMMENT.search(line)
        if match:
            # Modelines and rulers are no comments that somebody misses.
            n_comments += any(map(str.isalnum, match[0]))
            line = line[: match.start()] + match[1]
            if not line.strip():
                continue
        for edge in _VERBATIM.finditer(line):
            verbatim = edge[1] == "begin"
        lines.append(line)
    return "\n".join(lines), n_comments


def _kept(preamble: str) -> Iterator[str]:
    """Yield of a preamble the commands that say or define something, to their closing brace."""
    at = 0
    for match in _KEPT.finditer(preamble):
        if match.start() < at:
            continue
        line_end = preamble.find("\n", match.start())
        end = line_end if line_end >= 0 else len(preamble)
        while end < len(preamble) and _depth(preamble[match.start() : end]) > 0:
            after = preamble.find("\n", end + 1)
            end = after if after >= 0 else len(preamble)
            if end - match.start() > 2000:
                break
        yield preamble[match.start() : end].rstrip()
        at = end


def _depth(text: str) -> int:
    return len(re.findall(r"(?<!\\)\{", text)) - len(re.findall(r"(?<!\\)\}", text))


TEX = Format("tex", (".tex", ".latex", ".ltx"), read_tex)
