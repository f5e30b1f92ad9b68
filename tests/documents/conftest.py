"""What the tests of documents share."""

from pathlib import Path

import pytest

from e2llm.documents.library import Library


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library")
