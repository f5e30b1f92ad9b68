"""Every case of `cases/` is read as it says, and `docs/formats.md` is the table of them."""

import os
from itertools import pairwise
from pathlib import Path

import pytest

from e2llm.documents.reading import read
from e2llm.documents.source import Source
from e2llm.errors import ReadError
from tests.documents.cases import Case, kinds

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
CASES = [(kind, case) for kind, cases in kinds().items() for case in cases]
HEAD = """\
# What is read of which file

`tests/documents/test_cases.py` writes this page and checks it: every file is made by the test, by a
library that writes such files, and read. Notices go with the document, and with every answer.

"""


def outcome(case: Case, folder: Path) -> Source | str:
    """Make a case's file and read it; return the error where it is refused."""
    path = folder / case.file
    case.make(path)
    try:
        return read(path)
    except ReadError as error:
        return str(error)


@pytest.mark.parametrize(("kind", "case"), CASES, ids=[f"{k}-{c.file}-{c.what}" for k, c in CASES])
def test_a_case_is_read_as_it_says(kind: str, case: Case, tmp_path: Path) -> None:
    source = outcome(case, tmp_path)
    if case.refused is not None:
        assert isinstance(source, str)
        assert case.refused in source
        assert len(source.splitlines()) == 1
        return
    assert isinstance(source, Source), source
    places = [source.text.find(piece) for piece in case.holds]
    assert -1 not in places, (case.holds[places.index(-1)], source.text[:2000])
    assert all(before <= after for before, after in pairwise(places)), source.text[:2000]
    for piece in case.lacks:
        assert piece not in source.text
    assert len(source.notices) == len(case.notices), source.notices
    for piece, notice in zip(case.notices, source.notices, strict=True):
        assert piece in notice
        assert len(notice.splitlines()) == 1
    assert len(source.page_starts) == case.n_pages


def table() -> str:
    """Return the page."""
    lines = [HEAD]
    for kind, cases in kinds().items():
        lines += [f"## {kind}\n\n", "| file | what is in it | read | said |\n|---|---|---|---|\n"]
        for case in cases:
            said = "; ".join(case.notices) if case.refused is None else f"refused: {case.refused}"
            text = "" if case.refused is not None else " … ".join(case.holds)
            cells = (case.file, case.what, text, said)
            lines.append("| " + " | ".join(map(_cell, cells)) + " |\n")
        lines.append("\n")
    return "".join(lines).rstrip("\n") + "\n"


def _cell(text: str) -> str:
    """Return a text as it can stand in a cell of a table, its line breaks and tabs shown."""
    text = text.replace("\n", " ⏎ ").replace("\t", " ⇥ ").strip()
    short = text if len(text) <= 120 else text[:119] + "…"
    return "".join("\\" + char if char in "|<>`*_" else char for char in short)


def test_the_page_of_formats_is_fresh() -> None:
    if os.environ.get("E2LLM_WRITE_DOCS"):
        PAGE.write_text(table(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == table(), (
        "run E2LLM_WRITE_DOCS=1 pytest tests/documents/test_cases.py"
    )
