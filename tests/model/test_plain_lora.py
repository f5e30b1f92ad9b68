"""LoRA merged without PEFT: the same weights to the last bit, or it is left to PEFT."""

import json
import subprocess
import sys

import pytest
import torch
from peft import PeftModel

from e2llm.model.checkpoint import load_light, load_trainable, save_pair
from e2llm.model.lora import attach_lora
from e2llm.model.plain_lora import merge_plain_lora


def saved_lora(make_pair, path, decoder="llama", **options):
    """Save a pair whose LoRA has been trained, as far as numbers tell."""
    pair = make_pair(decoder=decoder)
    model = attach_lora(pair.model, rank=4, **options)
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            parameter.data += torch.randn_like(parameter) / 10
    save_pair(model, pair.processor, path)
    return pair.config


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rank_pattern": {r"encoder\..*": 8}, "alpha_pattern": {r"decoder\..*q_proj": 9}},
    ],
    ids=["one rank", "patterns"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_merged_weights_are_those_of_peft(make_pair, tmp_path, options, dtype):
    config = saved_lora(make_pair, tmp_path, **options)
    by_peft = load_trainable(tmp_path, config, dtype=torch.float32)
    assert isinstance(by_peft, PeftModel)
    by_peft = dict(by_peft.merge_and_unload().named_parameters())
    own = dict(load_light(tmp_path, config, dtype=dtype).named_parameters())
    assert own.keys() == by_peft.keys()
    for name, parameter in own.items():
        assert torch.equal(parameter, by_peft[name].to(dtype)), name
        assert parameter.requires_grad == by_peft[name].requires_grad, name


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ({"use_rslora": True}, {}),
        ({"use_dora": True}, {}),
        ({}, {"a_field_of_later": True}),
        ({}, {"r": 5}),
    ],
    ids=["rslora", "dora", "unknown field", "another rank"],
)
def test_what_is_not_plain_is_left_to_peft_and_nothing_is_changed(
    make_pair, tmp_path, options, changed
):
    config = saved_lora(make_pair, tmp_path, **options)
    file = tmp_path / "lora" / "adapter_config.json"
    model = make_pair().model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))
    weights = str(tmp_path / "lora" / "adapter_model.safetensors")
    assert not merge_plain_lora(model, str(file), weights)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    if options:
        merged = dict(load_light(tmp_path, config).named_parameters())
        by_peft = load_trainable(tmp_path, config).merge_and_unload()
        assert all(torch.equal(own, merged[name]) for name, own in by_peft.named_parameters())


def test_layers_that_are_not_linear_are_left_to_peft(make_pair, tmp_path):
    config = saved_lora(make_pair, tmp_path, decoder="gpt2")
    lora = tmp_path / "lora"
    files = str(lora / "adapter_config.json"), str(lora / "adapter_model.safetensors")
    assert not merge_plain_lora(make_pair(decoder="gpt2").model, *files)
    load_light(tmp_path, config)


@pytest.mark.slow
def test_a_pair_with_lora_is_loaded_without_importing_peft(make_pair, tmp_path):
    saved_lora(make_pair, tmp_path)
    program = (
        "import sys; from e2llm import E2LLM\n"
        f"E2LLM.from_pretrained({str(tmp_path)!r}, dtype='float32', device='cpu')\n"
        "print('peft' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout == "False\n"
