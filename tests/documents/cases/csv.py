"""CSV and TSV, as `csv` and spreadsheets write them, and as people damage them."""

import csv
from collections.abc import Sequence
from pathlib import Path

from tests.documents.cases import Case
from tests.documents.cases.text import _write

_PEOPLE = [["Name", "City", "Paid"], ["Ann", "Berlin", "12.50"], ["Bo", "Paris", "007"]]


def _rows(rows: Sequence[Sequence[str]], encoding: str = "utf-8", **style):
    def make(path: Path) -> None:
        with open(path, "w", newline="", encoding=encoding) as file:
            csv.writer(file, **style).writerows(rows)

    return make


CASES = [
    Case(
        "rows with their headers, numbers as written",
        "a.csv",
        _rows(_PEOPLE),
        holds=("Name: Ann; City: Berlin; Paid: 12.50\n", "Name: Bo; City: Paris; Paid: 007\n"),
    ),
    Case(
        "line ends, quotes and delimiters in cells",
        "quotes.csv",
        _rows([["Id", "Note"], ["1", 'She said "no",\nthen left.'], ["2", "a, b"]]),
        holds=('Id: 1; Note: She said "no",\nthen left.\n', "Id: 2; Note: a, b"),
    ),
    Case(
        "European: semicolons, decimal commas",
        "euro.csv",
        _rows([["Artikel", "Preis"], ["Öl", "1.234,50"], ["Tee", "3,10"]], delimiter=";"),
        holds=("Artikel: Öl; Preis: 1.234,50\n", "Artikel: Tee; Preis: 3,10\n"),
    ),
    Case(
        "tabs",
        "a.tsv",
        _rows(_PEOPLE, delimiter="\t"),
        holds=("Name: Bo; City: Paris; Paid: 007",),
    ),
    Case(
        "Excel's line sep=",
        "sep.csv",
        _write(b"sep=|\nName|Paid\nAnn|1\n"),
        holds=("Name: Ann; Paid: 1",),
        lacks=("sep=",),
    ),
    Case(
        "no header",
        "bare.csv",
        _rows([["2024-01-02", "17", "ok"], ["2024-01-03", "18", "late"]]),
        holds=("A: 2024-01-02; B: 17; C: ok\n", "A: 2024-01-03; B: 18; C: late"),
        notices=("no row names the columns",),
    ),
    Case(
        "words alone: the header is a guess",
        "words.csv",
        _rows([["Name", "City"], ["Ann", "Berlin"], ["Bo", "Paris"]]),
        holds=("Name: Ann; City: Berlin",),
        notices=("the first row was taken for the names",),
    ),
    Case(
        "lines before the header",
        "title.csv",
        _write(b"Report of 2024\nmade by Ann\n\nItem,Sold,Left\nbolt,3,9\nnut,4,8\n"),
        holds=("Report of 2024\nmade by Ann\n", "Item: bolt; Sold: 3; Left: 9"),
        lacks=("Report of 2024:",),
    ),
    Case(
        "years as headers, empty cells",
        "years.csv",
        _rows([["Country", "1990", "1991"], ["Chad", "", "5.1"], ["Peru", "7.0", "7.2"]]),
        holds=("Country: Chad; 1991: 5.1\n", "Country: Peru; 1990: 7.0; 1991: 7.2"),
    ),
    Case(
        "a quote that is never closed",
        "open.csv",
        _write(b'Name,Paid\nAnn,1\n"Bo,2\nCy,3\n'),
        holds=("Name: Ann; Paid: 1\n", 'Name: "Bo; Paid: 2\n', "Name: Cy; Paid: 3"),
        notices=("1 row is not well formed, the first in line 3",),
    ),
    Case(
        "a row with too many cells",
        "long.csv",
        _write(b"Name,Paid\nAnn,1\nBo,2,extra\n"),
        holds=("Name: Bo; Paid: 2; C: extra",),
        notices=("1 row has more cells than the header",),
    ),
    Case(
        "a NUL in a cell",
        "nul.csv",
        _write(b"Name,Paid\nAnn,1\nB\0o,2\n"),
        holds=("Name: B\ufffdo; Paid: 2",),
        notices=("1 NUL character replaced",),
    ),
    Case(
        "a row wider than a chunk: each part has the row's first cell",
        "wide.csv",
        _rows(
            [["Name", *(f"Question {i}" for i in range(60))], ["Ann", *map(str, range(1000, 1060))]]
        ),
        holds=("Name: Ann; Question 0: 1000", "\nName: Ann; ", "Question 59: 1059\n"),
    ),
    Case(
        "prose: it has no columns",
        "prose.csv",
        _write(b"One line, with a comma.\nNo other has one.\nNor this.\n"),
        holds=("One line, with a comma.\nNo other has one.\nNor this.\n",),
    ),
]
