"""The tables of a report, against numbers worked out by hand."""

import csv
import io

import pytest

from e2llm.benchmarks import BENCHMARKS
from e2llm.evaluation.cells import Value, group_key, main_score
from e2llm.evaluation.results import Results
from e2llm.evaluation.table import Table
from e2llm.evaluation.tables import make_tables
from tests.evaluation.made import CEILING, FLOOR, OURS, RUN, cell, of


def table(results: Results, name: str) -> dict[str, dict[str, object]]:
    [found] = [table for table in make_tables(results) if table.name == name]
    return {str(row[0]): dict(zip(found.columns, row, strict=True)) for row in found.rows}


def test_scores_retention_and_reasons_by_hand(small):
    rows = table(small, "squad")
    assert rows[OURS]["f1"].value == 30
    assert rows[OURS]["retention"] == (40 - 10) / (
        50 - 10
    )  # on the one sample that the ceiling read
    assert (rows[FLOOR]["retention"], rows[CEILING]["retention"]) == (0, 1)
    assert rows[CEILING]["n"] == 1
    assert (
        rows[CEILING]["could not run"]
        == "1 of 2: window: it needs 9 decoder positions and the decoder's window holds 8"
    )
    assert rows[OURS]["tokens/s"] == 2


def test_every_group_has_its_column_and_what_could_not_run_its_reason(small):
    rows = table(small, "squad-bucket")
    assert (rows[OURS]["0-1K"].value, rows[OURS]["1-2K"].value) == (40, 20)
    assert rows[CEILING]["1-2K"] == "window"
    assert list(table(small, "needle-depth")[OURS])[2:] == ["0", "50", "100", "retention"]


def test_growth_exponents_are_fitted(small):
    assert table(small, "cost-seconds-to-read")[OURS]["exponent"] == 2
    assert table(small, "cost-decoder-positions")[OURS]["exponent"] == 0


def test_a_table_is_the_same_in_every_form():
    made = Table(
        "t", "A table", ("method", "f_1"), (("a|b", Value(1, 0.5, 2)), ("c & d", None)), "A note."
    )
    assert "| a\\|b | 1.00 [0.50, 2.00] |" in made.markdown()
    assert r"c \& d & – \\" in made.latex()
    assert r"f\_1" in made.latex()
    assert list(csv.reader(io.StringIO(made.csv()))) == [
        ["method", "f_1", "f_1 low", "f_1 high"],
        ["a|b", "1", "0.5", "2"],
        ["c & d", "", "", ""],
    ]
    assert "<td>c &amp; d</td>" in made.html()


def test_what_the_runner_writes_makes_a_report_with_all_tables(results):
    names = {table.name for table in make_tables(results)}
    assert {*BENCHMARKS, "cost-gflop", "needle-depth"} <= names


def test_differences_are_taken_sample_by_sample(small):
    rows = table(small, "squad-differences")
    # Against E2LLM, the first that is neither floor nor ceiling.
    assert list(rows) == [FLOOR, CEILING]
    assert (rows[FLOOR]["n"], rows[FLOOR]["difference"].value) == (
        2,
        (40 + 20 - 10 - 0) / 2,
    )
    # The interval is of the differences, 30 and 20, which vary less than either method does.
    assert 20 <= rows[FLOOR]["difference"].low <= rows[FLOOR]["difference"].high <= 30
    assert (
        rows[CEILING]["n"],
        rows[CEILING][OURS].value,
        rows[CEILING]["difference"].value,
    ) == (1, 40, -10)


def test_the_method_to_compare_can_be_chosen(small):
    [found] = [
        made for made in make_tables(small, compare="full-text") if made.name == "squad-differences"
    ]
    assert [row[0] for row in found.rows] == [FLOOR, OURS]


@pytest.mark.parametrize(
    ("scores", "main"),
    [
        (("precision", "recall", "f1", "nats"), "f1"),
        (("rouge1", "rouge2", "rougeL"), "gmean"),
        (("needle", "contains"), "needle"),
        ((), None),
    ],
)
def test_a_benchmark_is_known_by_one_score(scores, main):
    assert main_score([cell("e2llm", "any", "0", {}, scores=dict.fromkeys(scores, 1.0))]) == main


def test_nats_stand_by_place_inside_the_chunk_and_every_token_counts_once(small):
    # Chunks of one and of two tokens with 1, and 2 and 3 nats: the first is the start of its chunk
    # and nothing else. Then one of a token with 9.
    small.cells.append(
        cell(
            "e2llm",
            "reconstruction",
            "1",
            {"length": 100},
            scores={"f1": 5, "nats": 9.0},
            token_nats=[9.0],
            chunk_starts=[0],
        )
    )
    row = table(small, "nats-in-chunk")[OURS]
    assert (row["first twentieth"].value, row["last twentieth"]) == ((1 + 2 + 9) / 3, None)
    assert row["between"].value == 3


def test_retention_and_differences_are_of_the_same_documents(small):
    # Another seed's samples have the same names and other documents.
    others = [
        cell | {"digest": "other", "scores": {"f1": 90}}
        for cell in of(small, "squad")
        if "scores" in cell and cell["sample"] == "0"
    ]
    small.cells.extend(others)
    assert table(small, "squad")[FLOOR]["retention"] == 0
    assert table(small, "squad-differences")[FLOOR]["n"] == 3


def test_a_cell_without_the_main_score_is_left_out_of_differences(small):
    measured = [cell for cell in of(small, "squad") if "scores" in cell]
    small.cells = [
        *measured,
        *(cell | {"scores": {"exact_match": 1}, "sample": "9"} for cell in measured),
    ]
    assert table(small, "squad-differences")[FLOOR]["n"] == 2


def test_the_values_of_an_ablation_are_in_their_order():
    assert sorted(["10", "1e-07", "0", "chunk", "1e-09", "0.1"], key=group_key) == [
        "0",
        "1e-09",
        "1e-07",
        "0.1",
        "10",
        "chunk",
    ]
    assert sorted(["12-18K", "6-12K", "24K+"], key=group_key) == ["6-12K", "12-18K", "24K+"]


def test_what_is_compared_is_e2llm_where_a_rival_without_a_role_comes_first(small):
    results = Results(
        [RUN | {"methods": {"yarn": {"role": "", "settings": {}}, **RUN["methods"]}}], small.cells
    )
    assert "difference" in table(results, "squad-differences")[FLOOR]
