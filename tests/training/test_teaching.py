"""Answers that a teacher writes; `e2llm data answer` has tests of its own."""

import pytest

from e2llm.errors import E2LLMError
from e2llm.training.teaching import teach


def test_a_pair_that_does_not_name_its_decoder_cannot_teach(make_pair, sources, tmp_path):
    pair = make_pair()
    pair.config.decoder_name = None
    with pytest.raises(E2LLMError, match="does not name its decoder"):
        next(teach(pair, sources[1], tmp_path / "taught.jsonl", 4))
    assert not (tmp_path / "taught.jsonl").exists()
