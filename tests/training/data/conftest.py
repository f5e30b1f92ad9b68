"""Every test has a home of its own, and those of the hub a cache."""

from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty E2LLM_HOME."""
    monkeypatch.setenv("E2LLM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The package `datasets`, which keeps what it makes of files beside the test's own."""
    package = pytest.importorskip("datasets")
    monkeypatch.setattr(package.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return package
