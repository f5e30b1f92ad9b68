"""The report: tables, figures and one page, made of result files alone.

No torch here.
"""

import html
import re
from collections.abc import Sequence
from pathlib import Path

from e2llm.checks import check_choice
from e2llm.evaluation.cells import methods_of
from e2llm.evaluation.results import Cell, Results, key, read_results
from e2llm.evaluation.table import Table
from e2llm.evaluation.tables import make_tables

_STYLE = """body { font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2em auto;
  padding: 0 1em; color: #222; background: #fff }
table { border-collapse: collapse; font-size: 13px; display: block; overflow-x: auto;
  white-space: nowrap }
th, td { padding: 3px 9px; text-align: right; border-bottom: 1px solid #8884 }
th:first-child, td:first-child, td:last-child, th:last-child { text-align: left }
svg { max-width: 100%; height: auto } p { opacity: .8 }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #111 } }"""


def make_report(
    folders: Sequence[Path], output: Path, seed: int = 0, compare: str = ""
) -> list[Path]:
    """Write tables (Markdown, LaTeX, CSV), figures (PNG, SVG) and `index.html` with all of them.

    Args:
        folders: Folders of results; where they are of several models, methods carry the model's
            name.
        output: Folder to write; earlier reports in it are replaced.
        seed: Of the bootstrap.
        compare: The method whose scores are set against every other's, sample by sample, as
            `evaluate` names it; "" for the first of E2LLM's.

    Returns:
        The files that were written.

    Raises:
        UserError: A folder holds no results, or a damaged file; or there is no such method.
        MissingPackageError: matplotlib is not installed.
    """
    from e2llm.evaluation.figures import make_figures
    from e2llm.evaluation.figures.base import save

    results = _join([read_results(folder) for folder in folders])
    if compare:
        check_choice("compare", compare, [method.spec for method in methods_of(results)])
    tables = make_tables(results, seed, compare)
    texts = {
        f"tables/{table.name}.{kind}": text
        for table in tables
        for kind, text in (("md", table.markdown()), ("tex", table.latex()), ("csv", table.csv()))
    }
    drawings: list[str] = []
    written: list[Path] = []
    (output / "figures").mkdir(parents=True, exist_ok=True)
    # Each is drawn once, and stands in the page as the SVG file has it.
    for name, title, figure in make_figures(results, seed):
        for kind in ("png", "svg"):
            written.append(output / "figures" / f"{name}.{kind}")
            save(figure, written[-1], kind)
        drawing = _scoped(written[-1].read_text(encoding="utf-8"), name)
        drawings.append(f"<h3>{html.escape(title)}</h3>\n{drawing}")
    facts = _facts(results)
    texts |= {"report.md": _markdown(facts, tables), "index.html": _page(facts, drawings, tables)}
    for name, text in texts.items():
        path = output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def _markdown(facts: Sequence[str], tables: Sequence[Table]) -> str:
    """Return all tables on one page of Markdown."""
    items = "".join(f"- {fact}\n" for fact in facts)
    return f"# Results\n\n{items}\n" + "\n".join(table.markdown() for table in tables)


def _page(facts: Sequence[str], drawings: Sequence[str], tables: Sequence[Table]) -> str:
    """Return all figures and tables as one page of HTML that needs no other file."""
    items = "".join(f"<li>{html.escape(fact)}</li>" for fact in facts)
    body = "\n".join([*drawings, *(table.html() for table in tables)])
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>e2llm: results</title><style>{_STYLE}</style>"
    )
    return (
        f"<!doctype html><html lang=en><head>{head}</head><body><h1>Results</h1>"
        f"<ul>{items}</ul>\n{body}</body></html>\n"
    )


def _join(parts: list[Results]) -> Results:
    """Put the results of several folders into one.

    What several folders of one model hold counts once: the last that was measured. Where there are
    several models, methods carry the name of theirs, with the beginning of its digest where two
    share the name.
    """
    # A run that was cut off in its first line left nothing.
    parts = [part for part in parts if part.runs]
    models = {(run["model"], run["digest"]) for part in parts for run in part.runs}
    names = [name for name, _ in models]
    joined = Results()
    cells: dict[tuple[str, str], Cell] = {}
    for part in parts:
        name, digest = (part.runs[0][field] for field in ("model", "digest"))
        model = name if names.count(name) == 1 else f"{name} {digest[:6]}"
        # A report of one model says it once, at the top.
        mark = f" @ {model}" if len(models) > 1 else ""
        joined.runs += [
            run | {"methods": {spec + mark: facts for spec, facts in run["methods"].items()}}
            for run in part.runs
        ]
        for cell in part.cells:
            place = (model, key(cell))
            # What was measured stands before what could not run, whichever folder comes first.
            if place not in cells or "skipped" not in cell:
                cells[place] = cell | {"method": cell["method"] + mark, "model": model}
        joined.missing |= part.missing
    joined.cells = list(cells.values())
    return joined


def _facts(results: Results) -> list[str]:
    """Say what was measured, on what, and what is missing."""
    facts = []
    for run in results.runs:
        machine, versions = (
            run["machine"],
            ", ".join(f"{name} {version}" for name, version in run["versions"].items()),
        )
        trained = "" if run["pair"]["trained"] else ", untrained"
        drawn = (
            f" (at most {run['samples']} samples of each length, or in all)"
            if run.get("samples")
            else ""
        )
        where = (
            f"{machine['cpu']}, {machine['cores']} cores, {run['device']}, {run['dtype']}, "
            f"{run['threads']} threads"
        )
        facts.append(
            f"{run['started']}: model {run['model'] or run['digest'][:12]}{trained} "
            f"({run['pair']['encoder_name']} + {run['pair']['decoder_name']}), scale "
            f"{run['scale']}{drawn}, seed {run['seed']}; {where}; commit "
            f"{run['commit'] or 'unknown'}; {versions}"
        )
    n_skipped = sum("skipped" in cell for cell in results.cells)
    facts.append(
        f"{len(results.cells) - n_skipped:,} cells measured, {n_skipped:,} could not run (why "
        "stands in the tables)"
    )
    return facts + [
        f"{name} could not be had: {reason}" for name, reason in results.missing.items()
    ]


def _scoped(svg: str, name: str) -> str:
    """Return a drawing to stand in a page beside others: without its XML head, its ids its own."""
    # An XML head and a document type may stand at the start of a file alone.
    svg = svg[svg.index("<svg") :]
    # Every drawing names its parts alike (`axes_1`), and one page holds them all.
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    return re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", svg)
