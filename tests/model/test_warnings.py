"""What the libraries underneath say of a pair that is right: nothing."""

import warnings

import pytest

from e2llm import E2LLM
from e2llm.model.checkpoint import load_trainable, save_pair
from e2llm.model.lora import attach_lora, extend_lora
from e2llm.model.versions import checkpoint_activations


@pytest.fixture(autouse=True)
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)  # Python hides them from users itself
        yield


def test_lora_is_attached_and_loaded_without_a_word_where_two_kinds_of_layers_mix(
    make_pair, tmp_path
):
    pair = make_pair("bert", "gpt2")
    model = attach_lora(pair.model, rank=2)
    save_pair(model, pair.processor, tmp_path / "pair")
    load_trainable(tmp_path / "pair", pair.config, dtype="float32")


def test_lora_is_extended_without_a_word(make_pair):
    model = attach_lora(make_pair("bert", "gpt2").model, rank=2, target_modules=r"encoder\..*query")
    extend_lora(model, "decoder", r"decoder\..*c_attn", rank=2, alpha=4)


def test_layers_are_computed_again_without_a_word(make_pair):
    decoder = make_pair().model.decoder
    checkpoint_activations(decoder)
    assert decoder.model.layers[0].gradient_checkpointing


@pytest.mark.smol
def test_the_first_use_of_the_default_pair_draws_no_bar(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("E2LLM_HOME", str(tmp_path))
    E2LLM.from_pretrained("smol", device="cpu")
    assert list(tmp_path.glob("decoders/*/config.json"))
    assert capfd.readouterr() == ("", "")
