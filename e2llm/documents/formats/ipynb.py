"""Jupyter notebooks: the cells in order, each with its outputs that are text."""

import json
import re
from collections.abc import Iterator
from typing import Any

from e2llm.documents.formats.base import Content, Format
from e2llm.documents.formats.records import count, decode_lines, without_files
from e2llm.errors import ReadError

_ANSI = re.compile(r"\x1b\[[0-9;:?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
# What a carriage return wrote over, as progress bars do.
_OVERWRITTEN = re.compile(r"[^\n]*\r(?!\n)")
_FENCE = re.compile(r"^`{3,}", re.MULTILINE)
# Of an output's forms the first that is there is read.
_FORMS = ("text/markdown", "text/plain", "text/latex", "text/html", "application/json")


def read_ipynb(data: bytes, encoding: str | None) -> Content:
    """Return the cells of a notebook of format 3, 4 or 5.

    Raises:
        ReadError: It is JSON, but no notebook.
    """
    text, notices = decode_lines(data, encoding)
    try:
        notebook = json.loads(text)
    except (ValueError, RecursionError):
        return Content(
            [text], notices=(*notices, "not the JSON of a notebook: it was read as it stands")
        )
    reader = _Reader(notebook)
    parts = [[part] for part in reader.cells()]
    if reader.n_pictures:
        notices = (
            *notices,
            f"{count(reader.n_pictures, 'picture or file', 'pictures or files')} "
            "in its cells not read",
        )
    return Content(parts or [""], "cell", notices)


class _Reader:
    """One notebook.

    Args:
        notebook: What its JSON holds.

    Raises:
        ReadError: It has no cells.
    """

    def __init__(self, notebook: Any) -> None:
        sheets = notebook.get("worksheets") if isinstance(notebook, dict) else None
        own = notebook if not sheets else {"cells": [c for s in sheets for c in s.get("cells", ())]}
        if not isinstance(own, dict) or not isinstance(own.get("cells"), list):
            raise ReadError("is JSON but no notebook, it has no cells: rename it to .json")
        self._cells = own["cells"]
        metadata = notebook.get("metadata") or {}
        info = metadata.get("language_info") or metadata.get("kernelspec") or {}
        self._language = str(info.get("name") or info.get("language") or "")
        if not metadata.get("language_info"):
            self._language = str(info.get("language") or "python")
        self.n_pictures = 0

    def cells(self) -> Iterator[str]:
        """Yield the text of each cell; a blank one is an empty text, so that numbers are true."""
        for cell in self._cells:
            source = self._clean(cell.get("source", cell.get("input", "")))
            self.n_pictures += sum(map(len, (cell.get("attachments") or {}).values()))
            if cell.get("cell_type") == "heading":
                yield "#" * min(int(cell.get("level", 1)), 6) + " " + source
            elif cell.get("cell_type") == "code":
                language = cell.get("language", self._language)
                outputs = [self._output(output) for output in cell.get("outputs") or ()]
                shown = "\n".join(text for text in outputs if text.strip())
                code = _fence(source, language) if source.strip() else ""
                yield "\n\n".join(filter(None, [code, shown and "Output:\n" + _fence(shown, "")]))
            else:
                yield source

    def _output(self, output: dict[str, Any]) -> str:
        """Return an output as text; count it where it is a picture."""
        if "traceback" in output:
            lines = [_ANSI.sub("", line) for line in output["traceback"]]
            return "\n".join(lines) or f"{output.get('ename')}: {output.get('evalue')}"
        if "data" in output:
            forms = output["data"]
        else:  # a stream, or an output of format 3: text, html, png ...
            forms = {
                f"text/{'plain' if key in ('text', 'stream') else key}": value
                for key, value in output.items()
                if key in ("text", "html", "latex")
            }
            forms |= {f"image/{key}": "" for key in ("png", "jpeg", "svg") if key in output}
        self.n_pictures += any(form.startswith(("image/", "audio/", "video/")) for form in forms)
        for form in _FORMS:
            if form in forms:
                value = forms[form]
                return self._clean(value if isinstance(value, str | list) else json.dumps(value))
        return ""

    def _clean(self, text: str | list[str]) -> str:
        """Return a text, which may be a list of lines, as it was shown."""
        text = _ANSI.sub("", "".join(text)).replace("\r\n", "\n")
        text, n_files = without_files(_OVERWRITTEN.sub("", text))
        self.n_pictures += n_files
        return text.rstrip("\n")


def _fence(text: str, language: str) -> str:
    mark = max(_FENCE.findall(text), default="``") + "`"
    return f"{mark}{language}\n{text}\n{mark}"


IPYNB = Format("ipynb", (".ipynb",), read_ipynb)
