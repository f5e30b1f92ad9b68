"""The fingerprint that documents carry: another model never answers from them."""

from dataclasses import replace

import pytest
import torch

from e2llm.errors import StaleDocumentError
from e2llm.pair import E2LLM
from tests import tiny

TEXT = tiny.TEXT * 12


def test_a_fingerprint_is_the_same_in_any_precision_and_another_for_other_weights(
    pair, make_pair, tmp_path
):
    pair.save(tmp_path)
    for dtype in ("float32", "bfloat16"):
        assert (
            E2LLM.from_pretrained(tmp_path, dtype=dtype, device="cpu").fingerprint
            == pair.fingerprint
        )
    changed = make_pair()
    with torch.no_grad():
        changed.model.decoder.get_input_embeddings().weight.mul_(1.05)
    others = [
        changed,
        make_pair(adapter="linear"),
        make_pair(document_prompt="passage: "),
        make_pair("roberta"),
        make_pair(decoder="gpt2"),
    ]
    assert len({pair.fingerprint, *(other.fingerprint for other in others)}) == 1 + len(others)


def test_a_stale_document_is_never_answered_from(pair):
    document = replace(pair.compress(TEXT), fingerprint="0" * 64)
    with pytest.raises(StaleDocumentError, match="compressed by another model"):
        pair.ask("Who?", [document])


def test_a_document_made_before_the_weights_changed_is_stale(make_pair):
    pair = make_pair()
    document = pair.compress(TEXT)
    with torch.no_grad():
        pair.model.adapter.up.weight.mul_(1.1)
    assert pair.compress(TEXT).fingerprint != document.fingerprint
    with pytest.raises(StaleDocumentError):
        pair.ask("Who?", [document])
