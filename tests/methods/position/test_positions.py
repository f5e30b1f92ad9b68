"""YaRN, Resonance RoPE and dynamic NTK against the library's own models and tables by hand."""

import copy
import math

import pytest
import torch
from transformers import AutoModelForCausalLM

from e2llm.errors import E2LLMError, UserError, WindowError
from e2llm.methods import make_method
from e2llm.methods.decoders.rotary import rotary
from tests.methods.sharp import sharpen
from tests.tiny import TEXT

QUESTION = "Who approved the budget?"
ANSWER = "The mayor did."
LONG = TEXT * 8  # about 1,200 tokens; the tiny window is 512
NAMES = ["yarn", "ntk", "resonance"]


@pytest.fixture(scope="module")
def sharp_pair(make_pair):
    """A pair whose decoder attends sharply; not to be changed."""
    return sharpen(make_pair(trained=True))


def library_model(decoder, **parameters):
    """The decoder as the library loads it with these `rope_parameters`."""
    config = copy.deepcopy(decoder.config)
    config.rope_parameters = config.rope_parameters | parameters
    model = AutoModelForCausalLM.from_config(config).eval()
    model.load_state_dict(decoder.state_dict())
    return model


def library_nats(method, model, text):
    """The answer's negative log-likelihoods by one pass of a model over the whole text."""
    answer = method.pair.processor.text_ids(ANSWER)
    prompt = method.prompt(method.keep(text), QUESTION, len(answer)).ids
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
    return [-logits[len(prompt) - 1 + place, token].item() for place, token in enumerate(answer)]


@pytest.mark.parametrize("decoder", ["llama", "qwen3", "olmo", "phi"])
@pytest.mark.parametrize(
    ("spec", "parameters"),
    [
        (
            "yarn:factor=4",
            {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512},
        ),
        ("ntk:factor=4", {"rope_type": "dynamic", "factor": 2.0}),
        ("ntk:factor=4:alpha=1", {"rope_type": "dynamic", "factor": 1.0}),
    ],
)
def test_a_text_beyond_the_window_is_read_as_the_librarys_model_reads_it(
    make_pair, decoder, spec, parameters
):
    method = make_method(spec, sharpen(make_pair(decoder=decoder)))
    nats = method.score(method.read(LONG), QUESTION, ANSWER)
    assert nats.tolist() == pytest.approx(
        library_nats(method, library_model(method.pair.model.decoder, **parameters), LONG), abs=1e-4
    )
    if decoder != "phi":  # whose tiny heads turn two pairs of dimensions
        unscaled = library_nats(method, method.pair.model.decoder, LONG)
        assert nats.tolist() != pytest.approx(unscaled, abs=1e-2), "the positions matter here"


def test_resonance_equals_a_table_by_hand(pair):
    method = make_method("resonance:factor=4", pair)
    method.prompt(method.keep(TEXT), QUESTION, 4)
    # Four frequencies, 10000^(-i/4), of which YaRN keeps those that turn 32 times in 512 positions
    # and divides by 4 those that turn less than once: by its ramp, between dimensions floor(0.4)
    # and ceil(1.91), the second is half between.
    kept = [10000 ** (-i / 4) for i in range(4)]
    yarn = [kept[0], (kept[1] + kept[1] / 4) / 2, kept[2] / 4, kept[3] / 4]
    assert make_method("yarn:factor=4", pair).frequencies(1)[0].tolist() == pytest.approx(yarn)
    wavelengths = [6, 101, 2513, 25133]
    assert [round(2 * math.pi / frequency) for frequency in yarn] == wavelengths
    assert rotary(method.decoder).inv_freq.tolist() == pytest.approx(
        [2 * math.pi / wavelength for wavelength in wavelengths]
    )
    assert rotary(method.decoder).attention_scaling == pytest.approx(0.1 * math.log(4) + 1)


@pytest.mark.parametrize("spec", ["ntk", "yarn:factor=1"])
def test_within_the_trained_window_nothing_changes(sharp_pair, spec):
    method, whole = make_method(spec, sharp_pair), make_method("full-text", sharp_pair)
    assert torch.equal(
        method.score(method.read(TEXT), QUESTION, ANSWER),
        whole.score(whole.read(TEXT), QUESTION, ANSWER),
    )
    results = [each.answer(each.read(TEXT), QUESTION, 8) for each in (method, whole)]
    assert results[0].text == results[1].text


@pytest.mark.parametrize("name", NAMES)
def test_the_weights_are_shared_and_the_pairs_own_decoder_is_left_alone(sharp_pair, name):
    own = sharp_pair.model.decoder
    before, kind = rotary(own).inv_freq.clone(), own.config.rope_parameters["rope_type"]
    method = make_method(name, sharp_pair)
    method.answer(method.read(LONG), QUESTION, 2)
    assert all(
        mine is theirs
        for mine, theirs in zip(method.decoder.parameters(), own.parameters(), strict=True)
    )
    assert torch.equal(rotary(own).inv_freq, before)
    assert own.config.rope_parameters["rope_type"] == kind


def test_an_answer_by_dynamic_ntk_does_not_depend_on_what_was_asked_before(sharp_pair):
    method = make_method("ntk", sharp_pair)
    reading, other = method.read(LONG), method.read(LONG * 2)
    first = method.answer(reading, QUESTION, 6)
    assert first.n_reused == 0
    method.answer(other, QUESTION, 6)
    method.answer(
        reading, "A longer question, which moves the scale: when was the bridge built?", 6
    )
    again = method.answer(reading, QUESTION, 6)
    assert again.text == first.text
    assert again.n_reused == 0, "its keys stand at another scale"
    assert method.answer(reading, QUESTION, 6).n_reused > 1000


@pytest.mark.parametrize("name", NAMES)
def test_the_window_is_as_much_wider_as_the_factor_says(sharp_pair, name):
    method = make_method(f"{name}:factor=2", sharp_pair)
    assert method.window == 1024
    with pytest.raises(WindowError, match="1,024"):
        method.answer(method.read(LONG), QUESTION, 2)
    with pytest.raises(UserError, match="factor"):
        make_method(f"{name}:factor=0.5", sharp_pair)


@pytest.mark.parametrize("decoder", ["gpt2", "gemma3"])
def test_a_decoder_without_one_set_of_rotary_positions_is_refused(make_pair, decoder):
    with pytest.raises(E2LLMError, match="rotary"):
        make_method("yarn", make_pair(decoder=decoder))


def test_a_decoder_whose_positions_are_scaled_already_is_refused(make_pair):
    pair = make_pair()
    pair.model.decoder.config.rope_parameters["rope_type"] = "linear"
    with pytest.raises(E2LLMError, match="scaled already"):
        make_method("yarn", pair)
