"""The figures of a report: named for people, and of one palette."""

import io
import re
from pathlib import Path

from e2llm.evaluation.figures import make_figures
from e2llm.evaluation.figures.base import save, styles
from e2llm.evaluation.report import make_report
from e2llm.methods import METHODS
from tests.evaluation.made import CEILING, FLOOR, RUN, of, write

DOCS = Path(__file__).parents[2] / "docs"


def test_variants_of_an_ablation_are_told_apart_and_drawn_against_the_value(small, tmp_path):
    for value in (0, 0.1, 1):
        cells = [
            cell | {"method": cell["method"].replace("e2llm", f"e2llm:expand={value}")}
            for cell in of(small, "squad")
        ]
        # A rival that stays the same.
        cells += [
            cell | {"method": "rag:expand=16"}
            for cell in of(small, "squad")
            if cell["method"] == "no-document"
        ]
        methods = {
            name.replace("e2llm", f"e2llm:expand={value}"): facts
            for name, facts in RUN["methods"].items()
        }
        methods["rag:expand=16"] = {"role": "equal budget", "settings": {}}
        # All read one pair, so they have one digest.
        run = RUN | {"model": f"expand={value}", "methods": methods}
        write(tmp_path / str(value), cells, run)
    written = make_report([tmp_path / str(value) for value in (0, 0.1, 1)], tmp_path / "report")
    assert {"ablation-expand-squad.png", "ablation-expand-squad.svg"} <= {
        path.name for path in written
    }
    drawing = (tmp_path / "report" / "figures" / "ablation-expand-squad.svg").read_text()
    assert all(
        f">{text}</text>" in drawing
        for text in ("chunks expanded", "E2LLM", FLOOR, CEILING, "chunks expanded")
    )
    assert (
        "| No document (floor) @ expand=0.1 | floor | 2 |"
        in (tmp_path / "report" / "tables" / "squad.md").read_text()
    )


def test_lines_differ_in_colour_or_dashes_and_a_methods_colour_is_the_same_everywhere():
    specs = [*METHODS, "e2llm @ other", "rag:ratio=8"]
    drawn = [(style["color"], style["linestyle"]) for style in styles(specs)]
    assert len(set(drawn)) == len(specs)
    assert styles(["full-text", "e2llm"])[1]["color"] == styles(["e2llm", "yarn"])[0]["color"]


def test_every_figure_is_as_wide_as_its_text_is_made_for_and_names_methods_for_people(small):
    for name, _, figure in make_figures(small):
        drawing = io.StringIO()
        save(figure, drawing, "svg")
        text = drawing.getvalue()
        assert 'width="450pt"' in text, name  # 600 pixels
        assert all(spec not in text for spec in ("no-document", "full-text")), name
        assert ">E2LLM, default</text>" in text, name


def test_the_axis_below_has_few_lengths_at_plain_numbers(small):
    [figure] = [figure for name, _, figure in make_figures(small) if name == "cost"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["1K", "4K"]


def test_the_documentations_figures_are_those_of_the_committed_results(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    import figures

    figures.draw(tmp_path)
    drawn = {path.name: path for path in tmp_path.iterdir()}
    kept_names = {path.name for path in (DOCS / "figures").glob("*.svg")}
    # The terminal is no drawing of results: docs/terminal.py draws it from a session.
    assert set(drawn) == kept_names - {"terminal.svg"}
    for name, path in drawn.items():
        kept = (DOCS / "figures" / name).read_text()
        assert len(kept) < 60_000, name
        assert labels(kept) == labels(path.read_text()), f"{name}: make figures"


def labels(svg: str) -> set[str]:
    """Return what is written in a drawing."""
    return set(re.findall(r">([^<>]+)</text>", svg))
