"""The documentation: its Python runs, its generated pages are fresh, and what it names exists.

Blocks marked `python` run in order, in one namespace per file and in an empty folder, with the real
weights of the pair `smol`. A block that cannot run is marked `python no-run: REASON`.
"""

import ast
import doctest
import importlib
import inspect
import json
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from e2llm import errors

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
GENERATED = ["docs/reference/cli.md", "docs/reference/tree.md"]
# `tests/documents/test_cases.py` checks the last one.
UNWRITTEN = [*GENERATED, "docs/formats.md"]
WRITTEN = [path for path in PAGES if str(path.relative_to(ROOT)) not in UNWRITTEN]
# Files at the root that are pages of the site too (`docs/hooks.py`).
ROOT_PAGES = {"log.md", "changelog.md", "contributing.md"}
BLOCK = re.compile(
    r"^```(?P<language>\S*)[ ]*(?P<mark>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# A file that the prose names, and what it says is in it: `folder/file.py`, `folder/file.py::name`.
NAMED = re.compile(r"`(?P<path>[\w./-]+\.(?:py|md|toml|json))(?:::(?P<name>\w+))?`")
ABSOLUTE = re.compile(r"(?<![\w.:/<~$}])/(?:home|work|tmp|root|opt|usr|mnt|Users|var)\b")
# What a page of the site would fetch from elsewhere.
FETCHED = re.compile(r"<(?:script|img|link)\b[^>]*(?:src|href)=\"(?:https?:)?//")
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
    text = BLOCK.sub("", path.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    own = set(re.findall(r'<a id="([^"]+)">', text))
    return own | {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


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


@pytest.fixture(scope="module")
def generated():
    """The pages that are made from the code, by their names, as `make docs` would write them."""
    code = (
        "import json, os, sys; os.environ.pop('E2LLM_MODEL', None); sys.path.insert(0, 'docs'); "
        "from generate import PAGES; print(json.dumps({name: PAGES[name]() for name in PAGES}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
    return {f"docs/{name}": text for name, text in json.loads(done.stdout).items()}


@pytest.mark.parametrize("name", GENERATED)
def test_a_page_that_is_made_from_the_code_is_fresh(generated, name):
    written = (ROOT / name).read_text(encoding="utf-8")
    assert written == generated[name], f"{name} is stale: run `make docs`"


def test_every_module_says_what_it_holds():
    files = [file for file in ROOT.glob("e2llm/**/*.py") if file.stat().st_size]
    assert not [ids(file) for file in files if not ast.get_docstring(ast.parse(file.read_bytes()))]


def test_every_page_is_in_the_navigation():
    listed = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    pages = {str(path.relative_to(ROOT / "docs")) for path in ROOT.glob("docs/**/*.md")}
    assert sorted(listed) == sorted(pages | ROOT_PAGES)


def test_the_site_builds_without_a_warning_and_fetches_nothing(tmp_path):
    for module in ("mkdocs", "material", "mkdocstrings_handlers.python"):
        pytest.importorskip(module, reason="the extra `docs` is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not [
        file for file in tmp_path.rglob("*.html") if FETCHED.search(file.read_text("utf-8"))
    ]


@pytest.mark.parametrize("path", WRITTEN, ids=ids)
def test_prose_stays_within_100_columns(path):
    """Tables, code, pictures and lines with a long URL excepted."""
    text = path.read_text(encoding="utf-8")
    prose = BLOCK.sub(lambda block: "\n" * block[0].count("\n"), text)
    assert not [
        f"{ids(path)}:{number}"
        for number, line in enumerate(prose.splitlines(), 1)
        if len(line) > 100
        and not line.lstrip().startswith(("|", "!["))
        and max(map(len, line.split())) < 50
    ]


@pytest.mark.parametrize("path", PAGES, ids=ids)
def test_links_lead_somewhere(path):
    for link in LINK.findall(BLOCK.sub("", path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        page = (path.parent / target).resolve() if target else path
        assert page.exists(), link
        assert not anchor or anchor in anchors(page), link


@pytest.mark.parametrize("path", WRITTEN, ids=ids)
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
            (ROOT / "docs/reference/python.md").read_text(encoding="utf-8"),
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
