"""A pair as the harness sees it."""

from pathlib import Path

import pytest

from tests.integrations.requests import SHORT


@pytest.fixture(scope="session")
def folder(make_pair, tmp_path_factory) -> Path:
    """A pair, with a decoder without a chat template, that claims to be trained."""
    path = tmp_path_factory.mktemp("pair")
    make_pair(decoder="plain", trained=True).save(path)
    return path


@pytest.fixture(scope="session")
def make_lm(folder):
    """Make the model that the harness would make."""
    from e2llm.integrations.lm_eval import CompressingLM

    own = {"pretrained": str(folder), "dtype": "float32", "device": "cpu", "ratio": 4, "expand": 0}
    return lambda **arguments: CompressingLM(**{**own, **SHORT, **arguments})
