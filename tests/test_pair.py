"""The pair: loading it, asking it, and what it refuses."""

from dataclasses import replace

import pytest
import torch

from e2llm.errors import UserError
from e2llm.pair import E2LLM
from tests.reading.conftest import TEXT


@pytest.fixture(scope="module")
def document(pair):
    return pair.compress(TEXT, name="town")


def test_zero_documents_ask_the_bare_decoder(pair):
    ids = torch.tensor([pair.processor.prompt_ids(["Who approved it?"])])
    bare = pair.model.decoder.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False
    )
    answer = pair.ask("Who approved it?", max_new_tokens=8)
    expected = pair.processor.tokenizer.decode(bare[0, ids.shape[1] :], skip_special_tokens=True)
    # Half a character at the cut is left out.
    assert answer.text == expected.rstrip("\ufffd").strip()
    assert answer.usage.positions == ids.shape[1]
    assert answer.expanded == ()
    assert answer.notices == ("the answer was cut after 8 tokens (`max_new_tokens`).",)


def test_ask_equals_the_transformers_model_on_the_same_prompt(trained_pair):
    document = trained_pair.compress(TEXT, name="town")
    prompt = trained_pair.plan("Who?", [document], 2, max_new_tokens=8).prompt
    ids = torch.tensor([prompt.ids])
    options = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 8, "do_sample": False}
    output = trained_pair.model.generate(
        input_ids=ids, soft_tokens=prompt.soft_tokens[None], **options
    )
    # Half a character at the cut is left out.
    expected = trained_pair.processor.tokenizer.decode(
        output[0, ids.shape[1] :], skip_special_tokens=True
    )
    expected = expected.rstrip("\ufffd").strip()
    assert trained_pair.ask("Who?", document, expand=2, max_new_tokens=8).text == expected


@pytest.mark.parametrize("question", ["", "  \n"])
def test_a_blank_question_is_refused(pair, question):
    with pytest.raises(UserError, match="`question` is blank"):
        pair.ask(question)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("temperature", -1),
        ("top_p", 0),
        ("top_p", 1.5),
        ("top_k", 0),
        ("max_new_tokens", 0),
        ("num_beams", 0),
        ("repetition_penalty", 0),
        ("expand", -1),
    ],
)
def test_an_option_out_of_range_names_itself_and_its_value(pair, document, option, value):
    with pytest.raises(UserError, match=f"`{option}` \\(={value}"):
        pair.ask("Who?", document, **{option: value})


def test_an_unknown_option_is_refused(pair):
    with pytest.raises(UserError, match="`temprature` is not a sampling option"):
        pair.ask("Who?", temprature=1)


def test_an_unknown_pair_suggests_the_nearest():
    with pytest.raises(UserError, match="did you mean 'smol'"):
        E2LLM.from_pretrained("smal")


def test_a_folder_that_is_no_pair_is_refused_in_one_line(bases, tmp_path):
    with pytest.raises(UserError, match="is a llama model, not a pair"):
        E2LLM.from_pretrained(bases / "decoder-llama")
    with pytest.raises(UserError, match="is no pair"):
        E2LLM.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"documents": "text"}, "documents"),
        ({"documents": None}, "documents"),
        ({"documents": ["text"]}, "documents"),
        ({"question": None}, "question"),
        ({"question": "half \ud800"}, "question"),
        ({"expand": 1.5}, "expand"),
        ({"expand": "2"}, "expand"),
        ({"max_new_tokens": "5"}, "max_new_tokens"),
        ({"max_new_tokens": True}, "max_new_tokens"),
        ({"temperature": "warm"}, "temperature"),
        ({"top_p": 0.9}, "top_p"),
        ({"top_k": 2.5, "temperature": 1}, "top_k"),
    ],
)
def test_arguments_of_another_type_name_themselves(pair, arguments, named):
    with pytest.raises(UserError, match=f"`{named}`"):
        pair.ask(**{"question": "Who?", **arguments})


def test_soft_tokens_of_another_width_are_refused(trained_pair):
    document = trained_pair.compress(TEXT)
    with pytest.raises(UserError, match="width 16"):
        trained_pair.ask(
            "Who?", replace(document, soft_tokens=document.soft_tokens[:, :16]), max_new_tokens=2
        )
