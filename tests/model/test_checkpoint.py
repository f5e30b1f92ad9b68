"""A pair on disk: what is saved, what is loaded, and what is refused."""

import json
import shutil

import pytest
import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoProcessor

from e2llm.errors import UserError
from e2llm.model import E2LLMConfig, E2LLMForCausalLM, E2LLMProcessor
from e2llm.model.checkpoint import load_processor, save_pair
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


def test_a_saved_pair_holds_the_adapter_and_the_names_of_its_bases_alone(pair, tmp_path):
    pair.save(tmp_path)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert all(name.startswith("adapter.") for name in file.keys())  # noqa: SIM118
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["encoder_name"].endswith("encoder-bert")
    assert config["decoder_name"].endswith("decoder-llama")
    assert "max_position_embeddings" in config["text_config"]


@pytest.mark.parametrize(
    ("encoder", "decoder"), [("bert", "llama"), ("modernbert", "gpt2"), ("qwen3", "gemma3")]
)
@pytest.mark.parametrize("full", [False, True], ids=["light", "full"])
def test_the_auto_classes_load_what_was_saved_also_from_another_place(
    make_pair, tmp_path, encoder, decoder, full
):
    pair = make_pair(encoder, decoder, adapter="vpma")
    inputs = pair.processor(QUESTIONS, DOCUMENTS)
    pair.model.save_pretrained(tmp_path / "first", full=full)
    pair.processor.save_pretrained(tmp_path / "first")
    shutil.move(tmp_path / "first", tmp_path / "second")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "second")
    processor = AutoProcessor.from_pretrained(tmp_path / "second")
    assert isinstance(model, E2LLMForCausalLM)
    assert isinstance(processor, E2LLMProcessor)
    assert isinstance(AutoConfig.from_pretrained(tmp_path / "second"), E2LLMConfig)
    again = processor(QUESTIONS, DOCUMENTS)
    assert all(torch.equal(again[name], inputs[name]) for name in inputs)
    torch.testing.assert_close(model(**again).logits, pair.model(**inputs).logits)


def test_a_full_checkpoint_needs_no_base_models(make_pair, tmp_path):
    tiny.make_encoder(tmp_path / "encoder-own")
    tiny.make_decoder(tmp_path / "decoder-own")
    pair = E2LLM.pair(
        str(tmp_path / "encoder-own"), str(tmp_path / "decoder-own"), dtype="float32", device="cpu"
    )
    pair.model.save_pretrained(tmp_path / "full", full=True)
    pair.processor.save_pretrained(tmp_path / "full")
    shutil.rmtree(tmp_path / "encoder-own")
    shutil.rmtree(tmp_path / "decoder-own")
    loaded = E2LLM.from_pretrained(tmp_path / "full", dtype="float32", device="cpu")
    assert loaded.fingerprint == pair.fingerprint


def test_a_saved_lora_is_loaded_and_merged(make_pair, inputs, tmp_path):
    model, processor = trained_lora(make_pair, inputs), make_pair().processor
    trained = model(**inputs).logits
    assert not torch.allclose(trained, make_pair().model(**inputs).logits, atol=1e-3)
    save_pair(model, processor, tmp_path)
    assert {"config.json", "lora", "processor_config.json"} <= {
        path.name for path in tmp_path.iterdir()
    }
    assert not (tmp_path / "model.safetensors").exists()
    torch.testing.assert_close(
        AutoModelForCausalLM.from_pretrained(tmp_path)(**inputs).logits,
        trained,
        atol=1e-4,
        rtol=1e-4,
    )


def test_a_pair_with_lora_keeps_its_rotary_frequencies_whole_in_bfloat16(
    make_pair, inputs, tmp_path
):
    save_pair(trained_lora(make_pair, inputs), make_pair().processor, tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}
    frequencies = make_pair().model.decoder.model.rotary_emb.inv_freq
    assert frequencies.dtype == torch.float32
    assert torch.equal(loaded.decoder.model.rotary_emb.inv_freq, frequencies)


def test_a_merged_lora_is_saved_whole_and_its_plain_decoder_loads_elsewhere(
    make_pair, inputs, tmp_path
):
    save_pair(trained_lora(make_pair, inputs), make_pair().processor, tmp_path / "light")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "light")
    model.save_pretrained(tmp_path / "full")
    torch.testing.assert_close(
        AutoModelForCausalLM.from_pretrained(tmp_path / "full")(**inputs).logits,
        model(**inputs).logits,
    )
    model.decoder.save_pretrained(tmp_path / "decoder")
    decoder = AutoModelForCausalLM.from_pretrained(tmp_path / "decoder")
    ids = torch.tensor([[5, 6, 7]])
    torch.testing.assert_close(decoder(input_ids=ids).logits, model(input_ids=ids).logits)


def test_lora_on_weights_that_no_base_holds_is_not_saved_without_them(make_pair, inputs, tmp_path):
    save_pair(trained_lora(make_pair, inputs), make_pair().processor, tmp_path / "first")
    again = attach_lora(AutoModelForCausalLM.from_pretrained(tmp_path / "first"), rank=2)
    with pytest.raises(UserError, match="merge it first"):
        save_pair(again, make_pair().processor, tmp_path / "second")


def test_a_trained_pair_without_its_adapter_file_is_refused(trained_pair, tmp_path):
    trained_pair.save(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"holds no model\.safetensors"):
        AutoModelForCausalLM.from_pretrained(tmp_path)


def test_an_adapter_of_another_shape_is_refused_in_one_line(make_pair, tmp_path):
    make_pair(adapter="linear").save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "adapter": "mlp"}))
    with pytest.raises(UserError, match=r"does not fit its config\.json"):
        AutoModelForCausalLM.from_pretrained(tmp_path)


def test_a_processor_is_rebuilt_from_the_bases_where_the_folder_holds_none(pair, tmp_path):
    pair.model.save_pretrained(tmp_path)
    processor = load_processor(tmp_path, pair.config)
    assert processor.to_dict() == pair.processor.to_dict()


def test_a_lora_that_was_merged_in_memory_is_saved(make_pair, inputs, tmp_path):
    model = trained_lora(make_pair, inputs)
    trained = model(**inputs).logits
    merged = model.merge_and_unload()
    assert not merged.holds_bases()
    merged.save_pretrained(tmp_path)
    torch.testing.assert_close(
        AutoModelForCausalLM.from_pretrained(tmp_path)(**inputs).logits,
        trained,
        atol=1e-4,
        rtol=1e-4,
    )


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_base_that_was_fine_tuned_is_saved(make_pair, inputs, tmp_path, part):
    pair = make_pair()
    assert pair.model.holds_bases()
    with torch.no_grad():
        for parameter in getattr(pair.model, part).parameters():
            parameter.data = (
                parameter.data * 1.1
            )  # as optimizers that copy do, which torch does not count
    pair.save(tmp_path)
    torch.testing.assert_close(
        AutoModelForCausalLM.from_pretrained(tmp_path)(**inputs).logits, pair.model(**inputs).logits
    )


@pytest.mark.parametrize("decoder", tiny.DECODERS)
def test_every_family_is_saved_whole_and_loaded_again(make_pair, tmp_path, decoder):
    pair = make_pair(decoder=decoder)
    inputs = pair.processor(QUESTIONS, DOCUMENTS)
    pair.model.save_pretrained(tmp_path, full=True)
    torch.testing.assert_close(
        AutoModelForCausalLM.from_pretrained(tmp_path)(**inputs).logits, pair.model(**inputs).logits
    )
