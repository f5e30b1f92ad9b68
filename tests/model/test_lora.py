"""LoRA: where it reaches, that it starts as the base, and how it is widened."""

import pytest
import torch

from e2llm.errors import UserError
from e2llm.model.checkpoint import load_trainable, save_pair
from e2llm.model.lora import attach_lora, widen_lora
from tests import tiny

DOCUMENTS = [[tiny.TEXT], [tiny.TEXT[:150], "A short one."]]

QUESTIONS = ["Who approved the budget?", "When?"]

PAIRS = [(encoder, "llama") for encoder in tiny.ENCODERS] + [
    ("bert", decoder) for decoder in tiny.DECODERS if decoder != "llama"
]

PAIR_NAMES = ["-".join(pair) for pair in PAIRS]


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


def test_lora_at_the_start_equals_the_base(make_pair, inputs):
    pair = make_pair()
    base = pair.model(**inputs).logits
    torch.testing.assert_close(attach_lora(pair.model, rank=4)(**inputs).logits, base)


@pytest.mark.parametrize(("encoder", "decoder"), PAIRS, ids=PAIR_NAMES)
def test_lora_reaches_both_sides_of_every_family(make_pair, encoder, decoder):
    model = attach_lora(make_pair(encoder, decoder).model, rank=2)
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    for part in ("encoder", "decoder"):
        assert sum(f".{part}." in name and "lora_A" in name for name in names) >= 4
    assert any(".adapter." in name for name in names)
    assert all("lora_" in name or ".adapter." in name for name in names)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {r"encoder\..*": 3}, "alpha_pattern": {r"encoder\..*": 5}},
    ],
)
def test_a_wider_lora_computes_the_same_until_it_is_trained_and_is_saved_as_it_is(
    make_pair, inputs, tmp_path, options
):
    pair = make_pair()
    model = attach_lora(pair.model, rank=2, alpha=6, **options)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    before = model(**inputs).logits
    widen_lora(model, "decoder", 5)
    torch.testing.assert_close(model(**inputs).logits, before)
    widths = {
        part: {
            p.shape[0] for n, p in model.named_parameters() if f".{part}." in n and "lora_A" in n
        }
        for part in ("encoder", "decoder")
    }
    assert widths == {"encoder": {3 if "rank_pattern" in options else 2}, "decoder": {5}}
    widen_lora(model, "decoder", 4)  # which it has already
    save_pair(model, pair.processor, tmp_path / "wide")
    again = load_trainable(tmp_path / "wide", pair.config, dtype=torch.float32)
    torch.testing.assert_close(again(**inputs).logits, before)
    model(**inputs).logits.square().mean().backward()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0
        for n, p in model.named_parameters()
        if ".decoder." in n and "lora_B" in n
    )


def test_a_lora_whose_layers_differ_is_not_widened(make_pair):
    model = attach_lora(make_pair().model, rank=2, alpha_pattern={r"decoder\..*q_proj": 9})
    with pytest.raises(UserError, match=r"`decoder.rank` \(=4\)"):
        widen_lora(model, "decoder", 4)


def test_frozen_parameters_get_no_gradient_and_do_not_move(make_pair, inputs):
    before = {name: tensor.clone() for name, tensor in make_pair().model.state_dict().items()}
    model = trained_lora(make_pair, inputs)
    assert all(
        parameter.grad is None for parameter in model.parameters() if not parameter.requires_grad
    )
    after = {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in model.get_base_model().state_dict().items()
    }
    frozen = [name for name in before if not name.startswith("adapter.")]
    assert all(torch.equal(before[name], after[name]) for name in frozen)
