"""`e2llm fit`: a rival is trained, measured, and what is wrong is one line."""

from pathlib import Path

import pytest

from tests.cli.running import run
from tests.training import writing

SMALL = ("--batch-size", 2, "--chunks", 2, "--document-tokens", 100, "--dtype", "float32")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return writing.write_data(tmp_path_factory.mktemp("data"))


def test_a_rival_is_fitted_goes_on_and_is_found_by_its_weights(pair, data, tmp_path):
    from e2llm.methods import make_method
    from e2llm.pair import E2LLM

    sources = ("--source", data / "questions.jsonl", "--source", data / "texts.jsonl")
    argv = ("fit", "clex:factor=4", "-m", pair, *sources, *SMALL, "-o", tmp_path / "run")
    said = run(*argv, "--steps", 2).said
    assert "questions (38), texts (40)" in said, "5 % are set aside"
    assert "2/2 validation " in said
    assert "1/2 loss " in said
    assert f'--methods "clex:factor=4:weights={tmp_path / "run"}"' in said
    method = make_method(
        f"clex:factor=4:weights={tmp_path / 'run'}", E2LLM.from_pretrained(pair, dtype="float32")
    )
    assert method.trained()
    assert "Fitted: " in run(*argv, "--steps", 2, "--resume").said, "what is done stays"
    assert "holds a run already; add --resume" in run(*argv, "--steps", 2).stderr
    assert "holds another run" in run(*argv, "--steps", 3, "--resume").stderr


@pytest.mark.parametrize(
    ("method", "source", "words"),
    [
        ("longlra", "questions.jsonl", "did you mean 'longlora'"),
        ("rag", "questions.jsonl", "`METHOD` (='rag') must be one of "),
        ("longlora", "none.jsonl", "does not exist"),
        ("longlora", "texts.jsonl", "is trained on question records"),
    ],
)
def test_a_mistake_is_one_line(pair, data, tmp_path, method, source, words):
    given = ("--source", data / source, *SMALL, "--steps", 1)
    result = run("fit", method, "-m", pair, *given, "-o", tmp_path / "run")
    assert words in result.mistake
    assert not (tmp_path / "run").exists()


def test_a_wrong_number_is_told_by_name(pair, data, tmp_path):
    given = ("--source", data / "questions.jsonl", "--steps", 1, "--learning-rate", 0)
    message = run("fit", "clex", "-m", pair, *given, "-o", tmp_path / "run").mistake
    assert "`learning_rate`" in message
