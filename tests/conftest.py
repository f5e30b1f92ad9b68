"""Fixtures that every test may use: tiny folders of base models and pairs made from them."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

# Tests never ask a network, and two workers on two cores want one thread each.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch
import transformers

from e2llm.pair import E2LLM
from tests import tiny

torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every tiny encoder ("encoder-bert") and decoder ("decoder-llama")."""
    folder = tmp_path_factory.mktemp("bases")
    for family in tiny.ENCODERS:
        tiny.make_encoder(folder / f"encoder-{family}", family)
    for family in tiny.DECODERS:
        tiny.make_decoder(folder / f"decoder-{family}", family)
    tiny.make_decoder(folder / "decoder-plain", "llama", chat=False)
    return folder


@pytest.fixture(scope="session")
def make_pair(bases: Path):
    """Make an untrained pair from two tiny families, in float32."""

    def make(encoder: str = "bert", decoder: str = "llama", **options) -> E2LLM:
        options = {"chunk_chars": 120, "ratio": 4, "dtype": "float32", "device": "cpu", **options}
        return E2LLM.pair(
            str(bases / f"encoder-{encoder}"), str(bases / f"decoder-{decoder}"), **options
        )

    return make


@pytest.fixture(scope="session")
def pair(make_pair) -> E2LLM:
    """An untrained tiny pair, BERT and Llama; not to be changed."""
    return make_pair()


@pytest.fixture(scope="session")
def trained_pair(make_pair) -> E2LLM:
    """The same pair that claims to be trained, so that its soft tokens are in the prompt; not to be
    changed.
    """
    return make_pair(trained=True)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Let an interrupt reach the test: in the background of a shell without job control, as with
    `nohup make test &`, processes start out ignoring it.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
