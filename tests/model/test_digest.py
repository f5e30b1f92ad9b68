"""Fingerprints: the same weights have one, in any precision, and others have another."""

import pytest
import torch
import transformers as tf

from e2llm.model.checkpoint import save_pair
from e2llm.model.lora import attach_lora
from e2llm.pair import E2LLM
from tests import tiny

DOCUMENTS = [[tiny.TEXT], [tiny.TEXT[:150], "A short one."]]

QUESTIONS = ["Who approved the budget?", "When?"]


@pytest.fixture
def inputs(pair):
    return pair.processor(QUESTIONS, DOCUMENTS)


def trained_lora(make_pair, inputs):
    """Take one large step, so that LoRA and adapter differ from their start."""
    model = attach_lora(make_pair().model, rank=4)
    optimizer = torch.optim.SGD(
        [parameter for parameter in model.parameters() if parameter.requires_grad], lr=1.0
    )
    labels = inputs["input_ids"].masked_fill(inputs["input_ids"] == 400, -100)
    for _ in range(2):
        optimizer.zero_grad()
        model(**inputs, labels=labels).loss.backward()
        optimizer.step()
    return model.eval()


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "mpnet"])
def test_an_encoder_without_pooler_weights_gives_the_same_fingerprint_at_every_loading(
    bases, tmp_path, family
):
    tf.AutoModelForMaskedLM.from_config(tiny.ENCODERS[family]()).save_pretrained(tmp_path)
    tiny.encoder_tokenizer().save_pretrained(tmp_path)
    pairs = [
        E2LLM.pair(str(tmp_path), str(bases / "decoder-llama"), dtype="float32", device="cpu")
        for _ in range(2)
    ]
    assert pairs[0].fingerprint == pairs[1].fingerprint
    assert not any(
        "pooler" in name
        for name, parameter in attach_lora(pairs[0].model, rank=2).named_parameters()
        if parameter.requires_grad
    )


def test_a_pair_with_lora_has_one_fingerprint_in_memory_and_loaded_in_any_precision(
    make_pair, inputs, tmp_path
):
    model = trained_lora(make_pair, inputs)
    fingerprints = {E2LLM(model, make_pair().processor).fingerprint}
    save_pair(model, make_pair().processor, tmp_path)
    fingerprints |= {
        E2LLM.from_pretrained(tmp_path, dtype=dtype, device="cpu").fingerprint
        for dtype in ("float32", "bfloat16")
    }
    assert len(fingerprints) == 1
    assert fingerprints != {make_pair().fingerprint}
