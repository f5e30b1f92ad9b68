"""`bench/house.py`: what it counts, by hand, and this tree."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent.parent / "bench"


@pytest.fixture
def house(monkeypatch):
    """The script, as a module."""
    monkeypatch.syspath_prepend(str(BENCH))
    import house

    return house


def test_a_tree_is_counted_by_hand(house):
    body = "\n".join(["def long():  # too long", *["    pass"] * 60])
    found = house.count(
        {
            "README.md": "Two words, 1,024 and 3.5.\n\n| a | 7 |\n|---|---|\n",
            "docs/page.md": "x" * 101 + "\n```text\n" + "y" * 101 + "\n```\n| " + "z" * 101 + "\n",
            "e2llm/short.py": '# alone\nvalue = 1  # behind\n"""\n# no comment\n"""\n',
            "e2llm/long.py": body + "\n",
            "tests/long.py": "\n" * 351,
        }
    )
    assert found == {
        "lines over 100 columns, %": round(100 / (1 + 1 + 5 + 61), 1),
        "README: words": 9,  # 1,024 and 3.5 are two each
        "README: numbers": 3,
        "README: table rows": 2,
        "comment lines per code line": round(3 / (1 + 61), 3),
        "longest file of the package, lines": 61,
        "longest file of the package": "e2llm/long.py",
        "files over 350 lines": 1,
        "functions over 60 lines": 1,
    }


def test_prose_goes_on_after_a_fenced_block(house):
    page = "one\n````md\n```\ntwo\n```\n````\nthree\n~~~\nfour\n~~~\n| five |\nsix"
    assert list(house.prose(page)) == ["one", "three", "six"]


@pytest.mark.skipif(not (BENCH.parent / ".git").exists(), reason="not a checkout")
def test_this_tree_is_counted_and_it_ends_with_one_line_of_json():
    run = subprocess.run(
        [sys.executable, BENCH / "house.py"], capture_output=True, text=True, check=True
    )
    counted = json.loads(run.stdout.splitlines()[-1])["this tree"]
    assert counted["README: words"] > 100
    assert (BENCH.parent / counted["longest file of the package"]).is_file()
