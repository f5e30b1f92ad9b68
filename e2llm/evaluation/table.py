"""One table, written as Markdown, LaTeX, CSV and HTML.

No torch here.
"""

import csv
import html
import io
from dataclasses import dataclass

from e2llm.evaluation.cells import Value

NO_VALUE = "–"
Content = Value | float | int | str | None


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: Of its files.
        title: What stands above it.
        columns: Heads of the columns; the first holds methods.
        rows: As many entries as there are columns.
        note: What stands below it.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Content, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        """Return the table in Markdown."""
        lines = [
            self.columns,
            ["---"] * len(self.columns),
            *([show(content).replace("|", "\\|") for content in row] for row in self.rows),
        ]
        return (
            f"### {self.title}\n\n"
            + "".join(f"| {' | '.join(line)} |\n" for line in lines)
            + (f"\n{self.note}\n" if self.note else "")
        )

    def latex(self) -> str:
        """Return the table in LaTeX, for the package booktabs."""
        lines = [
            " & ".join(_escaped(show(content)) for content in row) + r" \\"
            for row in (self.columns, *self.rows)
        ]
        body = "\n".join([r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"])
        note = f"% {self.note}\n" if self.note else ""
        columns = "l" + "r" * (len(self.columns) - 1)
        return f"% {self.title}\n{note}\\begin{{tabular}}{{{columns}}}\n{body}\n\\end{{tabular}}\n"

    def csv(self) -> str:
        """Return the table as comma-separated values; a column with intervals becomes three."""
        # A spreadsheet reads numbers, not "1.00 [0.50, 2.00]".
        wide = [
            any(isinstance(row[place], Value) for row in self.rows)
            for place in range(len(self.columns))
        ]
        heads = [
            name
            for column, three in zip(self.columns, wide, strict=True)
            for name in ([column, f"{column} low", f"{column} high"] if three else [column])
        ]
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heads)
        for row in self.rows:
            flat: list[Content] = []
            for content, three in zip(row, wide, strict=True):
                flat += (
                    [content.value, content.low, content.high]
                    if isinstance(content, Value)
                    else [content, None, None]
                    if three
                    else [content]
                )
            writer.writerow(flat)
        return file.getvalue()

    def html(self) -> str:
        """Return the table in HTML."""
        heads = "".join(f"<th>{html.escape(column)}</th>" for column in self.columns)
        rows = "".join(
            "<tr>"
            + "".join(f"<td>{html.escape(show(content))}</td>" for content in row)
            + "</tr>\n"
            for row in self.rows
        )
        note = f"<p>{html.escape(self.note)}</p>" if self.note else ""
        return (
            f"<h3>{html.escape(self.title)}</h3>\n<table><thead><tr>{heads}</tr></thead>\n"
            f"<tbody>{rows}</tbody></table>{note}\n"
        )


def show(content: Content) -> str:
    """Return an entry as text."""
    if content is None:
        return NO_VALUE
    # Three digits are what the intervals bear.
    if isinstance(content, float):
        return f"{content:,.3g}" if abs(content) < 100 else f"{content:,.0f}"
    return f"{content:,}" if isinstance(content, int) else str(content)


def _escaped(text: str) -> str:
    # The backslash comes first: the others bring backslashes of their own.
    for char in "\\&%$#_{}":
        text = text.replace(char, f"\\{char}" if char != "\\" else r"\textbackslash ")
    return text
