"""CONTRIBUTING's checklists, walked from the outside: a format, a method, a benchmark, a file each.

Nothing of the package is edited; each file says what it adds, and registers it with one line.
"""

import runpy

import pytest

from e2llm import read
from e2llm.benchmarks import BENCHMARKS
from e2llm.documents.formats import FORMATS
from e2llm.evaluation.results import read_results
from e2llm.evaluation.runner import evaluate
from e2llm.methods import METHODS

FORMAT = '''
"""Text that somebody wrote backwards."""
from e2llm.documents.formats import FORMATS, Format

FORMATS.append(Format("backwards", (".txet",), lambda data, encoding: data.decode()[::-1]))
'''

METHOD = '''
"""The first words of the document, as text."""
from dataclasses import dataclass

from e2llm.methods import METHODS
from e2llm.methods.base import NAME, Method
from e2llm.reading.prompt import Passage


@dataclass
class FirstWords(Method):
    n_words: int = 5

    def keep(self, text):
        kept = " ".join(text.split()[: self.n_words])
        return [Passage(NAME, kept, 0, len(kept), None)]

    def prompt(self, kept, question, max_new_tokens):
        return self.text_prompt(kept, question, max_new_tokens)

    def positions(self, n_tokens):
        return min(n_tokens, 2 * self.n_words)


METHODS["first-words"] = FirstWords
'''

BENCHMARK = '''
"""Who gave what: one document, one question."""
from e2llm.benchmarks import BENCHMARKS
from e2llm.benchmarks.base import Benchmark, Sample


class Gifts(Benchmark):
    name, metrics, max_new_tokens = "gifts", ("f1",), 4

    def load(self, scale, seed, data):
        document = "Ann gave Bo a goat. " * 8
        return [Sample("gifts-0", document, "What did Ann give Bo?", ("a goat",))]


BENCHMARKS["gifts"] = Gifts()
'''


@pytest.fixture(autouse=True)
def registries():
    """Leave the registries as they were."""
    formats, methods, benchmarks = list(FORMATS), dict(METHODS), dict(BENCHMARKS)
    yield
    FORMATS[:] = formats
    for registry, before in ((METHODS, methods), (BENCHMARKS, benchmarks)):
        registry.clear()
        registry.update(before)


def add(folder, name: str, code: str) -> None:
    """Write a file and run it, as an import of it would."""
    (folder / name).write_text(code)
    runpy.run_path(str(folder / name))


def test_a_format_from_the_outside_is_read_and_named(tmp_path):
    add(tmp_path, "backwards.py", FORMAT)
    (tmp_path / "letter.txet").write_text(".nnA raeD")
    assert read(tmp_path / "letter.txet").text == "Dear Ann."


def test_a_method_from_the_outside_runs_over_a_benchmark_from_the_outside(trained_pair, tmp_path):
    add(tmp_path, "first_words.py", METHOD)
    add(tmp_path, "gifts.py", BENCHMARK)
    names = ["no-document", "first-words:n_words=6", "full-text"]
    evaluate(trained_pair, names, ["gifts"], tmp_path / "results")
    cells = read_results(tmp_path / "results").cells
    assert [cell["method"] for cell in cells] == names
    assert all(cell["benchmark"] == "gifts" and "f1" in cell["scores"] for cell in cells)
    floor, own, ceiling = (cell["positions"] for cell in cells)
    assert floor < own < ceiling
