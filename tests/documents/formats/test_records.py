"""Formats with records: chunks say whose values they hold, and no record that fits is cut."""

import csv
import json
import time
from pathlib import Path

import pytest

from e2llm.chunking.chunker import Chunker
from e2llm.documents.formats.number_format import show
from e2llm.documents.reading import read
from e2llm.documents.source import Source


def chunks(source: Source) -> list[str]:
    spans = Chunker(512).cut(source.text, source.record_starts)
    pieces = [source.text[start:end] for start, end in spans]
    assert "".join(pieces) == source.text
    return pieces


def test_every_chunk_of_a_table_begins_with_a_row_and_has_its_headers(tmp_path: Path) -> None:
    with open(tmp_path / "a.csv", "w", newline="") as file:
        csv.writer(file).writerows(
            [["Invoice", "Amount"], *([f"INV-{n:05d}", f"{n}.10"] for n in range(3000))]
        )
    pieces = chunks(read(tmp_path / "a.csv"))
    assert all(piece.startswith("Invoice: INV-") for piece in pieces)
    assert sum("Invoice: INV-01234\nAmount: 1234.10\n" in piece for piece in pieces) == 1


def test_every_chunk_of_a_wide_table_names_its_row(tmp_path: Path) -> None:
    with open(tmp_path / "a.csv", "w", newline="") as file:
        csv.writer(file).writerows(
            [
                ["Seller", *(f"Week {week}" for week in range(200))],
                *([f"S{n}", *(f"{n}.{week}" for week in range(200))] for n in range(5)),
            ]
        )
    assert all(piece.startswith("Seller: S") for piece in chunks(read(tmp_path / "a.csv")))


def test_no_chunk_of_json_begins_inside_a_record(tmp_path: Path) -> None:
    staff = [{"id": n, "name": f"N{n}", "address": {"city": "Ulm"}} for n in range(500)]
    (tmp_path / "a.json").write_text(json.dumps({"staff": staff}))
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, staff)))
    assert all(piece.startswith("staff[") for piece in chunks(read(tmp_path / "a.json")))
    assert all(piece.startswith("id: ") for piece in chunks(read(tmp_path / "a.jsonl")))


@pytest.mark.parametrize("name", ["a.py", "a.js", "a.pl"])
def test_no_function_that_fits_is_cut(tmp_path: Path, name: str) -> None:
    functions = [
        f"# Comment {n}.\ndef f{n}(a):\n    b = a\n\n    return b{' + 1' * (n % 40)}\n\n"
        for n in range(100)
    ]
    (tmp_path / name).write_text("\n".join(functions))
    source = read(tmp_path / name)
    assert source.text == "\n".join(functions)
    assert all(piece.lstrip("\n").startswith("# Comment") for piece in chunks(source))


def test_chunks_of_yaml_begin_at_its_elements(tmp_path: Path) -> None:
    text = "list:\n" + "".join(
        f"  - name: n{n}\n    text: >\n      some\n      words\n" * 1 for n in range(99)
    )
    (tmp_path / "a.yaml").write_text(text)
    assert all(
        piece.startswith(("list:", "  - name")) for piece in chunks(read(tmp_path / "a.yaml"))
    )


def test_a_yaml_text_longer_than_a_chunk_is_read(tmp_path: Path) -> None:
    text = "prompt: |\n" + "  Say it again.\n" * 99 + "port: 80\n"
    (tmp_path / "a.yaml").write_text(text)
    assert read(tmp_path / "a.yaml").text == text


def test_labels_do_not_make_a_small_file_a_large_text(tmp_path: Path) -> None:
    long = "k" * 100_000
    (tmp_path / "a.json").write_text(json.dumps({long: {f"k{n}": n for n in range(2000)}}))
    (tmp_path / "a.csv").write_text(f"a,{long}\n" + "1,2\n" * 2000)
    for name in ("a.json", "a.csv"):
        text = read(tmp_path / name).text
        assert long in text
        assert len(text) < 1_000_000


@pytest.mark.slow
def test_a_cell_of_a_hundred_megabytes_takes_seconds(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1," + "x" * 100_000_000 + "\n")
    start = time.perf_counter()
    assert read(tmp_path / "a.csv").text.endswith("x\n\n")
    assert time.perf_counter() - start < 60


@pytest.mark.parametrize(
    ("value", "form", "shown"),
    [
        (1234567.891, "General", "1234567.891"),
        (0.1 + 0.2, "General", "0.3"),
        (12345678901234, "0", "12345678901234"),
        (-1234.5, "#,##0.00;(#,##0.00)", "(1,234.50)"),
        (-3, "0.0", "-3.0"),
        (0, '0;-0;"none"', "none"),
        (2.5, "0", "3"),
        (1500000, '0.0,,"M"', "1.5M"),
        (5, '0 "kg"', "5 kg"),
        (0.00001234, "0.00E+00", "1.23E-5"),
        (1.5, "# ?/?", "1.5"),
        (True, "General", "TRUE"),
    ],
)
def test_numbers_are_shown_as_their_format_has_them(value: object, form: str, shown: str) -> None:
    assert show(value, form) == shown
