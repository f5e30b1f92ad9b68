"""Fixtures of the command line: a home for each test, and pairs made once."""

import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import tiny
from tests.cli.running import PRELOADED, PROCESSES, run

PROCESSES.set_forkserver_preload(PRELOADED)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty E2LLM_HOME; what the command line sets for its own process is put back."""
    monkeypatch.setenv("E2LLM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("E2LLM_MODEL", raising=False)
    monkeypatch.chdir(tmp_path)
    logger = logging.getLogger("e2llm")
    handlers, propagate = logger.handlers, logger.propagate
    with warnings.catch_warnings():
        yield tmp_path / "home"
    logger.handlers, logger.propagate = handlers, propagate


@pytest.fixture(scope="session")
def world() -> Iterator[Path]:
    """A folder with a tiny encoder and decoder that, unlike pytest's own, every user can reach."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    tiny.make_encoder(folder / "encoder")
    tiny.make_decoder(folder / "decoder")
    for weights in folder.rglob("*.safetensors"):
        weights.chmod(0o644)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def make_pair(world: Path):
    """Make a pair with `e2llm pair`; keyword arguments are then written to its configuration."""

    def make(name: str, *options: object, **changes: object) -> Path:
        folder = world / name
        bases = (world / "encoder", world / "decoder")
        given = ("--chunk-chars", 120, "--dtype", "float32", *options)
        result = run("pair", *bases, "-o", folder, *given)
        assert result.code == 0, result
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))
        return folder

    return make


@pytest.fixture(scope="session")
def pair(make_pair) -> Path:
    """An untrained pair."""
    return make_pair("pair")


@pytest.fixture(scope="session")
def trained(make_pair) -> Path:
    """The same pair that claims to be trained, so that its soft tokens are in the prompt."""
    return make_pair("trained", trained=True)


@pytest.fixture(scope="session")
def other(make_pair) -> Path:
    """Another pair: its adapter has other weights."""
    return make_pair("other", "--seed", 1)


@pytest.fixture
def town(tmp_path: Path) -> Path:
    """A short text file."""
    path = tmp_path / "town.txt"
    path.write_text(tiny.TEXT)
    return path
