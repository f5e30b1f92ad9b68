"""The pair as a transformers model: every family, generation, saving, LoRA."""

import pytest
import torch

from e2llm.errors import UserError
from e2llm.pair import E2LLM
from tests import tiny

DOCUMENTS = [[tiny.TEXT], [tiny.TEXT[:150], "A short one."]]

QUESTIONS = ["Who approved the budget?", "When?"]

PAIRS = [(encoder, "llama") for encoder in tiny.ENCODERS] + [
    ("bert", decoder) for decoder in tiny.DECODERS if decoder != "llama"
]

PAIR_NAMES = ["-".join(pair) for pair in PAIRS]

WAYS = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True, "temperature": 0.9, "top_p": 0.95},
    "beams": {"do_sample": False, "num_beams": 3},
    "several sequences": {"do_sample": True, "num_return_sequences": 3},
    "beams with several sequences": {"do_sample": False, "num_beams": 3, "num_return_sequences": 2},
}


@pytest.fixture
def inputs(pair):
    return pair.processor(QUESTIONS, DOCUMENTS)


def embeddings_of(model, inputs):
    soft_tokens, soft_mask = model.compress(
        inputs["chunk_input_ids"], inputs["chunk_attention_mask"], inputs["chunk_soft_ids"]
    )
    return model.embed(inputs["input_ids"], soft_tokens, soft_mask)


def generate_twice(model, inputs, **way):
    """Generate with the pair from its chunk inputs, and with the bare decoder from the same
    embeddings.
    """
    way = {"max_new_tokens": 6, "pad_token_id": 0, **way}
    torch.manual_seed(7)
    whole = model.generate(**inputs, **way)
    torch.manual_seed(7)
    bare = model.decoder.generate(
        inputs_embeds=embeddings_of(model, inputs), attention_mask=inputs["attention_mask"], **way
    )
    return whole[:, inputs["input_ids"].shape[1] :], bare


@pytest.mark.parametrize(("encoder", "decoder"), PAIRS, ids=PAIR_NAMES)
def test_every_family_generates_what_its_bare_decoder_generates_from_the_same_embeddings(
    make_pair, encoder, decoder
):
    pair = make_pair(encoder, decoder)
    whole, bare = generate_twice(pair.model, pair.processor(QUESTIONS, DOCUMENTS), do_sample=False)
    assert torch.equal(whole, bare)


@pytest.mark.parametrize("decoder", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_generating_equals_the_bare_decoder_on_the_same_embeddings(
    make_pair, decoder, way
):
    pair = make_pair("bert", decoder)
    whole, bare = generate_twice(pair.model, pair.processor(QUESTIONS, DOCUMENTS), **WAYS[way])
    assert torch.equal(whole, bare)


def test_generation_without_a_cache_equals_generation_with_one(pair, inputs):
    with_cache = pair.model.generate(**inputs, max_new_tokens=5, do_sample=False)
    without = pair.model.generate(**inputs, max_new_tokens=5, do_sample=False, use_cache=False)
    assert torch.equal(with_cache, without)


def test_no_documents_equal_the_bare_decoder(pair):
    inputs = pair.processor(QUESTIONS)
    bare = pair.model.decoder(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
    )
    torch.testing.assert_close(pair.model(**inputs).logits, bare.logits)


def test_batching_changes_nothing(pair, inputs):
    both = pair.model(**inputs).logits
    for row, (question, documents) in enumerate(zip(QUESTIONS, DOCUMENTS, strict=True)):
        alone = pair.model(**pair.processor(question, [documents])).logits[0]
        torch.testing.assert_close(both[row, -len(alone) :], alone, atol=1e-4, rtol=1e-4)


def test_labels_give_the_decoders_own_loss(pair, inputs):
    labels = inputs["input_ids"].masked_fill(
        inputs["input_ids"] == pair.config.placeholder_id, -100
    )
    output = pair.model(**inputs, labels=labels)
    shifted, targets = output.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    torch.testing.assert_close(
        output.loss, torch.nn.functional.cross_entropy(shifted, targets, ignore_index=-100)
    )


def test_soft_tokens_compressed_before_give_the_same_logits(pair, inputs):
    soft_tokens, soft_mask = pair.model.compress(
        inputs["chunk_input_ids"], inputs["chunk_attention_mask"], inputs["chunk_soft_ids"]
    )
    given = {
        "input_ids": inputs["input_ids"],
        "attention_mask": inputs["attention_mask"],
        "soft_tokens": soft_tokens,
        "soft_mask": soft_mask,
    }
    torch.testing.assert_close(pair.model(**given).logits, pair.model(**inputs).logits)


@pytest.mark.parametrize("change", [-1, 1])
def test_more_or_fewer_soft_tokens_than_placeholders_are_refused(pair, change):
    ids = torch.tensor([[5, *[pair.config.placeholder_id] * 3, 6]])
    with pytest.raises(UserError, match=r"\[3\] placeholders per row .* for \[" + str(3 + change)):
        pair.model(input_ids=ids, soft_tokens=torch.zeros(1, 3 + change, 32))


def test_placeholders_without_soft_tokens_are_refused(pair):
    with pytest.raises(UserError, match="placeholders"):
        pair.model(input_ids=torch.tensor([[5, pair.config.placeholder_id]]))


def test_a_model_that_reads_in_both_directions_is_refused_as_decoder(bases):
    with pytest.raises(UserError, match=r"`decoder` .*both directions.*swapped"):
        E2LLM.pair(
            str(bases / "encoder-bert"), str(bases / "encoder-bert"), dtype="float32", device="cpu"
        )


def test_the_adapter_reads_the_encoders_layers_side_by_side_the_last_one_last(make_pair):
    pair = make_pair(encoder_layers=[0, 1, -1])
    inputs = pair.processor(QUESTIONS, DOCUMENTS)
    ids, mask = inputs["chunk_input_ids"][0], inputs["chunk_attention_mask"][0]
    hidden = pair.model.encoder(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    states = pair.model.encode(ids, mask)
    assert states.shape[-1] == pair.model.adapter.pooling.d_enc == 3 * 32
    torch.testing.assert_close(
        states,
        torch.cat([hidden.hidden_states[0], hidden.hidden_states[1], hidden.last_hidden_state], -1),
    )


@pytest.mark.parametrize("encoder", tiny.ENCODERS)
def test_a_pair_that_reads_several_layers_compresses_ranks_and_comes_back(
    make_pair, tmp_path, encoder
):
    pair, plain = (
        make_pair(encoder, adapter="residual", encoder_layers=layers, trained=True)
        for layers in ([0, -1], None)
    )
    document = pair.compress(tiny.TEXT)
    torch.testing.assert_close(
        document.embeddings, plain.compress(tiny.TEXT).embeddings
    )  # of the last layer alone
    assert pair.fingerprint != plain.fingerprint
    pair.save(tmp_path)
    again = E2LLM.from_pretrained(tmp_path, dtype="float32", device="cpu")
    assert again.fingerprint == pair.fingerprint
    assert (
        again.ask("Who?", document, expand=0, max_new_tokens=3).text
        == pair.ask("Who?", document, expand=0, max_new_tokens=3).text
    )


def test_what_the_caller_says_of_a_pair_goes_before_what_its_bases_say(make_pair):
    pair = make_pair(soft_token_norm=2.0, encoder_max_tokens=40, embedding_normalize=False)
    config = pair.config
    assert config.soft_token_norm == 2.0
    assert config.encoder_max_tokens == 40
    assert config.embedding_normalize is False
