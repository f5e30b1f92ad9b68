"""Records to fit on, and weights that were fitted."""

from pathlib import Path

import pytest

from e2llm.methods import make_method
from e2llm.methods.fitting.run import fit
from e2llm.training.data.sources import Source, SourceSettings, open_source
from tests.methods.fitting.running import SETTINGS
from tests.training import writing


@pytest.fixture(scope="session")
def sources(tmp_path_factory) -> list[Source]:
    """Texts and questions."""
    data = writing.write_data(tmp_path_factory.mktemp("fit-data"), defined=False)
    return [
        open_source(SourceSettings(path=str(data / f"{name}.jsonl")))
        for name in ("texts", "questions")
    ]


@pytest.fixture(scope="session")
def fitted(trained_pair, sources, tmp_path_factory) -> Path:
    """Weights of "longlora"."""
    return fit(
        make_method("longlora", trained_pair),
        sources,
        SETTINGS,
        tmp_path_factory.mktemp("fitted") / "longlora",
        say=str,
    )
