"""The documentation: its Python runs, its generated page is fresh, and what it names exists.

Blocks marked `python` run in order, in one namespace per file and in an empty folder, with the real
weights of the pair `smol`. A block that cannot run is marked `python no-run: REASON`.
"""

import ast
import doctest
import importlib
import inspect
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from e2llm import errors

ROOT = Path(__file__).parent.parent
PAGES = sorted(path for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")] if path.is_file())
BLOCK = re.compile(
    r"^```(?P<language>\S*)[ ]*(?P<mark>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# A file that the prose names, and what it says is in it: `folder/file.py`, `folder/file.py::name`.
NAMED = re.compile(r"`(?P<path>[\w./-]+\.(?:py|md|toml|json))(?:::(?P<name>\w+))?`")
ABSOLUTE = re.compile(r"(?<![\w.:/<~$}])/(?:home|work|tmp|root|opt|usr|mnt|Users|var)\b")
# Files that a pair's folder or a model's holds, not this repository.
ELSEWHERE = {
    "modules.json",
    "processor_config.json",
    "adapter_config.json",
    "generation_config.json",
    "config.json",
    "tokenizer.json",
}
# Modules whose docstrings hold examples.
DOCTESTED = [
    ".".join(path.relative_to(ROOT / "e2llm").with_suffix("").parts)
    for path in sorted(ROOT.glob("e2llm/**/*.py"))
    if ">>>" in path.read_text(encoding="utf-8")
]


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path) -> list[tuple[int, str, str]]:
    """Return (line, mark, code) of every block of Python."""
    text = path.read_text(encoding="utf-8")
    found = [match for match in BLOCK.finditer(text) if match["language"] == "python"]
    return [
        (text.count("\n", 0, match.start("code")), match["mark"].strip(), match["code"])
        for match in found
    ]


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as code hosts make them."""
    titles = re.findall(r"^#+ (.+)$", BLOCK.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def defined(path: Path) -> set[str]:
    """Return the names that a module defines at its top."""
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    targets = [
        name.id
        for node in nodes
        if isinstance(node, ast.Assign)
        for name in node.targets
        if isinstance(name, ast.Name)
    ]
    return {
        *targets,
        *(node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)),
    }


@pytest.mark.smol
@pytest.mark.parametrize("path", [path for path in PAGES if blocks(path)], ids=ids)
def test_every_block_of_python_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for line, mark, code in blocks(path):
        if mark:
            assert re.fullmatch(r"no-run: .+", mark), (
                f"{ids(path)}:{line}: say why the block cannot run: `python no-run: REASON`"
            )
            continue
        with warnings.catch_warnings():
            # As many blank lines before it as the page has lines, so that a traceback names the
            # page's own.
            exec(compile("\n" * line + code, str(path), "exec"), namespace)


@pytest.mark.parametrize("module", [f"e2llm.{name}" for name in DOCTESTED])
def test_every_example_in_a_docstring_runs(module):
    assert doctest.testmod(importlib.import_module(module)).failed == 0


def test_the_page_of_the_command_line_is_fresh(monkeypatch):
    monkeypatch.delenv("E2LLM_MODEL", raising=False)
    code = (
        "import sys; sys.path.insert(0, 'docs'); import generate; "
        "sys.stdout.buffer.write(generate.page().encode())"
    )
    page = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True
    ).stdout.decode()
    assert (ROOT / "docs/cli.md").read_text(encoding="utf-8") == page, (
        "docs/cli.md is stale: run `make docs`"
    )


@pytest.mark.parametrize("path", PAGES, ids=ids)
def test_links_lead_somewhere(path):
    for link in LINK.findall(BLOCK.sub("", path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        page = (path.parent / target).resolve() if target else path
        assert page.exists(), link
        assert not anchor or anchor in anchors(page), link


@pytest.mark.parametrize("path", PAGES, ids=ids)
def test_files_tests_and_classes_that_are_named_exist(path):
    for match in NAMED.finditer(BLOCK.sub("", path.read_text(encoding="utf-8"))):
        if match["path"] in ELSEWHERE or "NAME" in match["path"]:
            continue
        places = [
            folder / match["path"] for folder in (path.parent, ROOT, ROOT / "e2llm", ROOT / "docs")
        ]
        file = next((place for place in places if place.is_file()), None)
        assert file is not None, match["path"]
        assert match["name"] is None or match["name"] in defined(file), match[0]
    tests = {name for file in ROOT.glob("tests/**/test_*.py") for name in defined(file)}
    assert set(re.findall(r"`(test_\w+)`", path.read_text(encoding="utf-8"))) <= tests


@pytest.mark.parametrize("path", PAGES, ids=ids)
def test_no_page_names_an_absolute_path(path):
    assert not ABSOLUTE.findall(path.read_text(encoding="utf-8"))


def test_every_error_stands_in_the_table_with_its_exit_code():
    rows = dict(
        re.findall(
            r"^\| `(\w+)`.*\| (\d+) \|$",
            (ROOT / "docs/python.md").read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    )
    classes = {
        name: kind
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.E2LLMError)
    }
    assert rows == {
        name: str(kind.exit_code) for name, kind in classes.items() if kind is not errors.E2LLMError
    }


def test_every_file_of_the_package_stands_in_the_tree_with_its_gloss():
    tree = next(
        match["code"]
        for match in BLOCK.finditer((ROOT / "docs/design.md").read_text(encoding="utf-8"))
        if match["code"].startswith("e2llm/")
    )
    folder, listed = "", set()
    for line in tree.splitlines()[1:]:
        name, gloss = line.split(maxsplit=1)
        if name.endswith("/"):
            folder = name
        assert gloss
        listed.add(name if not line.startswith("    ") else folder + name)
    files = {
        str(file.relative_to(ROOT / "e2llm"))
        for file in (ROOT / "e2llm").rglob("*.py")
        if file.name != "__main__.py"
    }
    assert {name for name in listed if name.endswith(".py")} == {
        name for name in files if (ROOT / "e2llm" / name).stat().st_size
    }
