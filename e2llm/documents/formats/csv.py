"""CSV and TSV: rows with their headers; the delimiter is what most rows agree on."""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

from e2llm.documents.formats.base import Content, Format
from e2llm.documents.formats.records import decode_lines
from e2llm.documents.formats.tables import write_rows

_DELIMITERS = ",;\t|"
_SEEN_CHARS = 2**16
_SEEN_LINES = 200
# Excel's own first line.
_SEPARATOR = re.compile(r"sep=(.)\n")


def read_csv(data: bytes, encoding: str | None, delimiters: str = _DELIMITERS) -> Content:
    """Return the rows of a table, each with its headers; a file without columns stands as it is.

    Args:
        data: The file's content.
        encoding: None for what the bytes tell.
        delimiters: Those that are tried, the likeliest first.
    """
    text, notices = decode_lines(data, encoding)
    if match := _SEPARATOR.match(text):
        delimiters, text = match[1], text[match.end() :]
    lines = text.splitlines(keepends=True) if "\n" not in text else split_lines(text)
    delimiter = find_delimiter(lines[:_SEEN_LINES], delimiters)
    if delimiter is None:
        return Content([lines], notices=notices)
    rows, bad = parse(lines, delimiter)
    table = write_rows(rows)
    said = [*notices]
    if not table.named:
        said.append("no row names the columns: they are called A, B, C ...")
    elif not table.certain:
        said.append("the first row was taken for the names of the columns")
    if table.n_over:
        said.append(f"{_rows(table.n_over, 'has', 'have')} more cells than the header has names")
    if bad:
        said.append(
            f"{_rows(len(bad), 'is', 'are')} not well formed, the first in line {bad[0]:,}: read "
            "as they stand"
        )
    return Content([table.records], notices=tuple(said))


def find_delimiter(lines: Sequence[str], delimiters: str = _DELIMITERS) -> str | None:
    """Return the delimiter that gives most of some lines equally many columns; None for none.

    `csv.Sniffer` is not asked: it takes letters and spaces for delimiters.
    """
    sample = [line[:_SEEN_CHARS] for line in lines]
    best, most = None, 0.5
    for delimiter in delimiters:
        rows, _ = parse(sample, delimiter)
        widths = Counter(len(row) for row in rows if row)
        if not widths:
            continue
        width, count = max(widths.items(), key=lambda item: (item[1] * (item[0] > 1), item[0]))
        share = count / sum(widths.values())
        # Of two delimiters on which all rows agree the one with more columns is meant.
        if width > 1 and share + width / 1000 > most:
            best, most = delimiter, share + width / 1000
    return best


def parse(lines: Sequence[str], delimiter: str) -> tuple[list[list[str]], list[int]]:
    """Return the rows of some lines, and the numbers of lines that are not well formed.

    A quote that is never closed, which would swallow the rest of the file, ends with its line.
    """
    # The limit is the process's own and low; the file is in memory already.
    csv.field_size_limit(max(csv.field_size_limit(), sum(map(len, lines)) + 1))
    rows: list[list[str]] = []
    bad: list[int] = []
    at = 0
    while at < len(lines):
        reader = csv.reader(_from(lines, at), delimiter=delimiter, strict=True)
        begin = at
        try:
            for row in reader:
                rows.append(row)
                begin = at + reader.line_num
            break
        except csv.Error:
            rows.append(_parse_bad(lines[begin], delimiter, len(rows[-1]) if rows else 0))
            bad.append(begin + 1)
            at = begin + 1
    return rows, bad


def _parse_bad(line: str, delimiter: str, width: int) -> list[str]:
    """Return the cells of a line that is not well formed: leniently, or its quotes as they are."""
    line = line.rstrip("\n")
    lenient = next(csv.reader([line], delimiter=delimiter), [])
    if len(lenient) == width and line.count('"') % 2 == 0:
        return lenient
    return line.split(delimiter)


def _from(lines: Sequence[str], at: int) -> Iterator[str]:
    return (lines[index] for index in range(at, len(lines)))


def split_lines(text: str) -> list[str]:
    """Return the lines of a text; only line feeds end one."""
    lines = [line + "\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def _rows(number: int, one: str, many: str) -> str:
    return f"1 row {one}" if number == 1 else f"{number:,} rows {many}"


CSV = Format("csv", (".csv",), read_csv)
TSV = Format("tsv", (".tsv", ".tab"), partial(read_csv, delimiters="\t,;|"))
