"""The report: made of result files alone, the same each time, and honest about what is not there."""

import csv
import io
import re
import sys
from pathlib import Path

import pytest

from e2llm.benchmarks import BENCHMARKS
from e2llm.errors import MissingPackageError, UserError
from e2llm.evaluation.report import make_report
from e2llm.evaluation.results import Results, Writer
from e2llm.evaluation.tables import Table, Value, group_key, main_score, make_tables

RUN = {
    "model": "smol",
    "digest": "d",
    "scale": "quick",
    "seed": 0,
    "methods": {
        name: {"role": role, "settings": {}}
        for name, role in (("no-document", "floor"), ("e2llm", ""), ("full-text", "ceiling"))
    },
    "benchmarks": ["squad", "needle", "cost"],
    "pair": {"encoder_name": "encoder", "decoder_name": "decoder", "trained": True},
    "dtype": "float32",
    "device": "cpu",
    "threads": 1,
    "commit": "abc",
    "versions": {"python": "3.11"},
    "machine": {"cpu": "a cpu", "cores": 2},
    "started": "2026-01-01T00:00:00+00:00",
}
COST = {
    "read_s": 1.0,
    "read_flops": 10,
    "flops": 10,
    "positions": 8,
    "n_answer_tokens": 3,
    "first_token_s": 1.0,
    "total_s": 2.0,
    "peak_bytes": 2**30,
}


def cell(method: str, benchmark: str, sample: str, groups: dict, **content: object) -> dict:
    given = content if "skipped" in content else {**COST, "answer": "x", "scores": {}, **content}
    return {
        "method": method,
        "settings": {},
        "benchmark": benchmark,
        "sample": sample,
        "digest": "d",
        "groups": groups,
        "n_tokens": 100,
        **given,
    }


@pytest.fixture
def small() -> Results:
    """Two samples of a question benchmark of which the ceiling reads one, a needle map, and costs
    that grow with the square.
    """
    cells = []
    for method, scores in (
        ("no-document", (10, 0)),
        ("e2llm", (40, 20)),
        ("full-text", (50, None)),
    ):
        for place, score in enumerate(scores):
            groups = {"bucket": ("0-1K", "1-2K")[place]}
            content = (
                {"skipped": "window: it needs 9 decoder positions and the decoder's window holds 8"}
                if score is None
                else {"scores": {"f1": score}}
            )
            cells.append(
                cell(method, "squad", str(place), groups, **content)
                | {"n_tokens": 500 + 1000 * place}
            )
        for length in (1000, 4000):
            cells.append(
                cell(method, "cost", str(length), {"length": length}, read_s=length**2 / 1e6)
                | {"n_tokens": length}
            )
            for depth in (0, 50, 100):
                cells.append(
                    cell(
                        method,
                        "needle",
                        f"{length}-{depth}",
                        {"length": length, "depth": depth},
                        scores={"needle": depth / 10, "contains": 0},
                    )
                )
        cells.append(
            cell(
                method,
                "reconstruction",
                "0",
                {"length": 100},
                scores={"f1": 5, "nats": 1.0},
                token_nats=[1.0, 2.0, 3.0],
                chunk_starts=[0, 1],
            )
        )
    return Results([RUN], cells, {"quality": "no folder quality"})


def write(folder: Path, cells: list[dict], run: dict = RUN) -> None:
    with Writer(folder, run) as writer:
        writer.write("missing", {"name": "quality", "reason": "no folder quality"})
        for content in cells:
            writer.write("cell", content)


def of(results: Results, benchmark: str) -> list[dict]:
    return [cell for cell in results.cells if cell["benchmark"] == benchmark]


def table(results: Results, name: str) -> dict[str, dict[str, object]]:
    [found] = [table for table in make_tables(results) if table.name == name]
    return {str(row[0]): dict(zip(found.columns, row, strict=True)) for row in found.rows}


def test_scores_retention_and_reasons_by_hand(small):
    rows = table(small, "squad")
    assert rows["e2llm"]["f1"].value == 30
    assert rows["e2llm"]["retention"] == (40 - 10) / (
        50 - 10
    )  # on the one sample that the ceiling read
    assert (rows["no-document"]["retention"], rows["full-text"]["retention"]) == (0, 1)
    assert rows["full-text"]["n"] == 1
    assert (
        rows["full-text"]["could not run"]
        == "1 of 2: window: it needs 9 decoder positions and the decoder's window holds 8"
    )
    assert rows["e2llm"]["tokens/s"] == 2


def test_every_group_has_its_column_and_what_could_not_run_its_reason(small):
    rows = table(small, "squad-bucket")
    assert (rows["e2llm"]["0-1K"].value, rows["e2llm"]["1-2K"].value) == (40, 20)
    assert rows["full-text"]["1-2K"] == "window"
    assert list(table(small, "needle-depth")["e2llm"])[2:] == ["0", "50", "100", "retention"]


def test_growth_exponents_are_fitted(small):
    assert table(small, "cost-seconds-to-read")["e2llm"]["exponent"] == 2
    assert table(small, "cost-decoder-positions")["e2llm"]["exponent"] == 0


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


def test_the_report_holds_every_form_and_the_page_needs_no_other_file(small, tmp_path):
    write(tmp_path / "results", small.cells)
    written = make_report([tmp_path / "results"], tmp_path / "report")
    names = {path.name for path in written}
    assert {
        "squad.md",
        "squad.tex",
        "squad.csv",
        "needle-map.png",
        "needle-map.svg",
        "squad-length.svg",
        "cost.png",
        "report.md",
        "index.html",
    } <= names
    assert all(path.stat().st_size for path in written)
    page = (tmp_path / "report" / "index.html").read_text()
    assert "quality could not be had: no folder quality" in page
    assert "could not run" in page
    assert not re.findall(r'(?:src|href)="(?!#)(?!http://www\.w3\.org)(?!data:)[^"]*"', page)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)


def test_the_same_results_give_the_same_report(small, tmp_path):
    write(tmp_path / "results", of(small, "needle"))
    for name in ("one", "two"):
        make_report([tmp_path / "results"], tmp_path / name)
    for path in (tmp_path / "one").rglob("*.*"):
        assert (
            path.read_bytes()
            == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()
        ), path.name


def test_what_the_runner_writes_makes_a_report_with_all_tables(results):
    names = {table.name for table in make_tables(results)}
    assert {*BENCHMARKS, "cost-gflop", "needle-depth"} <= names


def test_differences_are_taken_sample_by_sample(small):
    rows = table(small, "squad-differences")
    assert list(rows) == [
        "no-document",
        "full-text",
    ]  # against e2llm, the first that is neither floor nor ceiling
    assert (rows["no-document"]["n"], rows["no-document"]["e2llm minus it"].value) == (
        2,
        (40 + 20 - 10 - 0) / 2,
    )
    # The interval is of the differences, 30 and 20, which vary less than either method does.
    assert (
        20
        <= rows["no-document"]["e2llm minus it"].low
        <= rows["no-document"]["e2llm minus it"].high
        <= 30
    )
    assert (
        rows["full-text"]["n"],
        rows["full-text"]["e2llm"].value,
        rows["full-text"]["e2llm minus it"].value,
    ) == (1, 40, -10)


def test_the_method_to_compare_can_be_chosen(small):
    [found] = [
        made for made in make_tables(small, compare="full-text") if made.name == "squad-differences"
    ]
    assert [row[0] for row in found.rows] == ["no-document", "e2llm"]


def test_a_method_to_compare_that_is_not_there_is_told(small, tmp_path):
    write(tmp_path / "results", small.cells)
    with pytest.raises(UserError, match=r"`compare` \(='e2lm'\).*e2llm"):
        make_report([tmp_path / "results"], tmp_path / "report", compare="e2lm")


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
    row = table(small, "nats-in-chunk")["e2llm"]
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
    assert table(small, "squad")["no-document"]["retention"] == 0
    assert table(small, "squad-differences")["no-document"]["n"] == 3


def test_a_cell_without_the_main_score_is_left_out_of_differences(small):
    measured = [cell for cell in of(small, "squad") if "scores" in cell]
    small.cells = [
        *measured,
        *(cell | {"scores": {"exact_match": 1}, "sample": "9"} for cell in measured),
    ]
    assert table(small, "squad-differences")["no-document"]["n"] == 2


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
    assert "e2llm minus it" in table(results, "squad-differences")["no-document"]


def test_what_two_folders_of_one_model_both_hold_counts_once(small, tmp_path):
    for name in ("one", "two"):
        write(tmp_path / name, of(small, "squad"))
    make_report([tmp_path / "one", tmp_path / "two"], tmp_path / "report")
    assert "| e2llm |  | 2 |" in (tmp_path / "report" / "tables" / "squad.md").read_text()


def test_a_cell_that_was_measured_stands_before_one_that_could_not_run(small, tmp_path):
    skipped = [{**cell, "skipped": "time: too long"} for cell in of(small, "squad")]
    write(tmp_path / "fast", of(small, "squad"))
    write(tmp_path / "slow", skipped)
    make_report([tmp_path / "fast", tmp_path / "slow"], tmp_path / "report")
    assert "| e2llm |  | 2 |" in (tmp_path / "report" / "tables" / "squad.md").read_text()


def test_a_folder_whose_one_file_was_cut_off_in_its_first_line_adds_nothing(small, tmp_path):
    write(tmp_path / "whole", of(small, "squad"))
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "20260101.jsonl").write_text('{"kind": "run", "mod')
    make_report([tmp_path / "cut", tmp_path / "whole"], tmp_path / "report")
    assert "| e2llm |  | 2 |" in (tmp_path / "report" / "tables" / "squad.md").read_text()


def test_two_pairs_of_one_name_are_two(small, tmp_path):
    for digest in ("a" * 64, "b" * 64):
        write(tmp_path / digest, of(small, "squad"), RUN | {"digest": digest})
    make_report([tmp_path / ("a" * 64), tmp_path / ("b" * 64)], tmp_path / "report")
    text = (tmp_path / "report" / "tables" / "squad.md").read_text()
    assert all(f"| e2llm @ smol {mark} |  | 2 |" in text for mark in ("aaaaaa", "bbbbbb"))


def test_variants_of_an_ablation_are_told_apart_and_drawn_against_the_value(small, tmp_path):
    for value in (0, 0.1, 1):
        cells = [
            cell | {"method": cell["method"].replace("e2llm", f"e2llm:expand={value}")}
            for cell in of(small, "squad")
        ]
        cells += [
            cell | {"method": "rag:expand=16"}
            for cell in of(small, "squad")
            if cell["method"] == "no-document"
        ]  # a rival that stays the same
        methods = {
            name.replace("e2llm", f"e2llm:expand={value}"): facts
            for name, facts in RUN["methods"].items()
        }
        methods["rag:expand=16"] = {"role": "equal budget", "settings": {}}
        write(
            tmp_path / str(value), cells, RUN | {"model": f"expand={value}", "methods": methods}
        )  # all read one pair, so one digest
    written = make_report([tmp_path / str(value) for value in (0, 0.1, 1)], tmp_path / "report")
    assert {"ablation-expand-squad.png", "ablation-expand-squad.svg"} <= {
        path.name for path in written
    }
    drawing = (tmp_path / "report" / "figures" / "ablation-expand-squad.svg").read_text()
    assert all(
        f"<!-- {text} -->" in drawing
        for text in ("expand", "e2llm:expand", "no-document", "full-text", "rag:expand=16")
    )
    assert (
        "| no-document @ expand=0.1 | floor | 2 |"
        in (tmp_path / "report" / "tables" / "squad.md").read_text()
    )


def test_several_models_stand_in_one_report(small, tmp_path):
    for model in ("smol", "large"):
        worth = 1 if model == "smol" else 2
        cells = [
            {**cell, "scores": {"f1": worth * cell["scores"]["f1"]}} if "scores" in cell else cell
            for cell in of(small, "squad")
        ]
        write(tmp_path / model, cells, RUN | {"model": model, "digest": model})
    make_report([tmp_path / "smol", tmp_path / "large"], tmp_path / "report")
    text = (tmp_path / "report" / "tables" / "squad.md").read_text()
    assert "| e2llm @ smol |" in text
    assert "| e2llm @ large |" in text
    assert text.count("| 0.75 |") == 2  # each against floor and ceiling of its own model


def test_results_without_a_single_score_make_a_report_all_the_same(small, tmp_path):
    write(tmp_path / "results", [cell for cell in small.cells if "skipped" in cell])
    make_report([tmp_path / "results"], tmp_path / "report")
    assert "1 of 1: window" in (tmp_path / "report" / "report.md").read_text()


def test_figures_without_their_package_say_how_to_get_it(small, tmp_path, monkeypatch):
    write(tmp_path / "results", small.cells)
    monkeypatch.delitem(sys.modules, "e2llm.evaluation.plots", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackageError, match=r"matplotlib: pip install 'e2llm\[eval\]'"):
        make_report([tmp_path / "results"], tmp_path / "report")


def test_a_folder_that_is_none_is_told(tmp_path):
    with pytest.raises(UserError, match="no results"):
        make_report([tmp_path / "nowhere"], tmp_path / "report")
