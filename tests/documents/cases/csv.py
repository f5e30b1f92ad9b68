"""CSV and TSV, as `csv` and spreadsheets write them, and as people damage them."""

import csv
from collections.abc import Sequence
from pathlib import Path

from tests.documents.cases import Case, raw

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
        holds=("Name: Ann\nCity: Berlin\nPaid: 12.50\n", "Name: Bo\nCity: Paris\nPaid: 007\n"),
    ),
    Case(
        "line ends, quotes and delimiters in cells",
        "quotes.csv",
        _rows([["Id", "Note"], ["1", 'She said "no",\nthen left.'], ["2", "a, b"]]),
        holds=('Id: 1\nNote: She said "no",\nthen left.\n', "Id: 2\nNote: a, b"),
    ),
    Case(
        "European: semicolons, decimal commas",
        "euro.csv",
        _rows([["Artikel", "Preis"], ["Öl", "1.234,50"], ["Tee", "3,10"]], delimiter=";"),
        holds=("Artikel: Öl\nPreis: 1.234,50\n", "Artikel: Tee\nPreis: 3,10\n"),
    ),
    Case(
        "tabs",
        "a.tsv",
        _rows(_PEOPLE, delimiter="\t"),
        holds=("Name: Bo\nCity: Paris\nPaid: 007",),
    ),
    Case(
        "Excel's line sep=",
        "sep.csv",
        raw(b"sep=|\nName|Paid\nAnn|1\n"),
        holds=("Name: Ann\nPaid: 1",),
        lacks=("sep=",),
    ),
    Case(
        "no header",
        "bare.csv",
        _rows([["2024-01-02", "17", "ok"], ["2024-01-03", "18", "late"]]),
        holds=("A: 2024-01-02\nB: 17\nC: ok\n", "A: 2024-01-03\nB: 18\nC: late"),
        notices=("no row names the columns",),
    ),
    Case(
        "words alone: the header is a guess",
        "words.csv",
        _rows([["Name", "City"], ["Ann", "Berlin"], ["Bo", "Paris"]]),
        holds=("Name: Ann\nCity: Berlin",),
        notices=("the first row was taken for the names",),
    ),
    Case(
        "lines before the header",
        "title.csv",
        raw(b"Report of 2024\nmade by Ann\n\nItem,Sold,Left\nbolt,3,9\nnut,4,8\n"),
        holds=("Report of 2024\nmade by Ann\n", "Item: bolt\nSold: 3\nLeft: 9"),
        lacks=("Report of 2024:",),
    ),
    Case(
        "years as headers, empty cells",
        "years.csv",
        _rows([["Country", "1990", "1991"], ["Chad", "", "5.1"], ["Peru", "7.0", "7.2"]]),
        holds=("Country: Chad\n1991: 5.1\n", "Country: Peru\n1990: 7.0\n1991: 7.2"),
    ),
    Case(
        "a quote that is never closed",
        "open.csv",
        raw(b'Name,Paid\nAnn,1\n"Bo,2\nCy,3\n'),
        holds=("Name: Ann\nPaid: 1\n", 'Name: "Bo\nPaid: 2\n', "Name: Cy\nPaid: 3"),
        notices=("1 row is not well formed, the first in line 3",),
    ),
    Case(
        "a row with too many cells",
        "long.csv",
        raw(b"Name,Paid\nAnn,1\nBo,2,extra\n"),
        holds=("Name: Bo\nPaid: 2\nC: extra",),
        notices=("1 row has more cells than the header",),
    ),
    Case(
        "a NUL in a cell",
        "nul.csv",
        raw(b"Name,Paid\nAnn,1\nB\0o,2\n"),
        holds=("Name: B\ufffdo\nPaid: 2",),
        notices=("1 NUL character replaced",),
    ),
    Case(
        "a row wider than a chunk: each part has the row's first cell",
        "wide.csv",
        _rows(
            [["Name", *(f"Question {i}" for i in range(60))], ["Ann", *map(str, range(1000, 1060))]]
        ),
        holds=("Name: Ann\nQuestion 0: 1000", "\n\nName: Ann\nQ", "Question 59: 1059\n"),
    ),
    Case(
        "prose: it has no columns",
        "prose.csv",
        raw(b"One line, with a comma.\nNo other has one.\nNor this.\n"),
        holds=("One line, with a comma.\nNo other has one.\nNor this.\n",),
    ),
]
