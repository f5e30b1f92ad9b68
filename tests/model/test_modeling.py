"""The pair as a transformers model: every family, generation, saving, LoRA."""

import json
import shutil

import pytest
import torch
import transformers as tf
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoProcessor

from e2llm.errors import UserError
from e2llm.model import E2LLMConfig, E2LLMForCausalLM, E2LLMProcessor
from e2llm.model.adapters import ADAPTERS
from e2llm.model.checkpoint import load_processor, load_trainable, save_pair
from e2llm.model.lora import attach_lora, widen_lora
from e2llm.model.pooling import POOLINGS, group
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


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_adapter_works_with_every_pooling_and_trains(make_pair, adapter, pooling):
    pair = make_pair(adapter=adapter, pooling=pooling)
    inputs = pair.processor(QUESTIONS, DOCUMENTS)
    soft_tokens, mask = pair.model.compress(
        inputs["chunk_input_ids"], inputs["chunk_attention_mask"], inputs["chunk_soft_ids"]
    )
    norms = soft_tokens[mask].norm(dim=-1)
    # An adapter that does not normalise only begins near the norm: states of a group that are alike
    # add up.
    tolerance = 0.15 if pair.model.adapter.normalizes else 0.5
    assert norms.mean().item() == pytest.approx(pair.config.soft_token_norm, rel=tolerance)
    pair.model(
        **inputs,
        labels=inputs["input_ids"].masked_fill(
            inputs["input_ids"] == pair.config.placeholder_id, -100
        ),
    ).loss.backward()
    for name, parameter in pair.model.adapter.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_the_vpma_adapter_computes_the_papers_equations_over_four_heads():
    torch.manual_seed(0)
    d_enc, d_dec, length, n_heads = 6, 8, 5, 4
    adapter = ADAPTERS["vpma"](POOLINGS["tokens"](d_enc), d_enc, d_dec, n_heads=n_heads)
    states = torch.randn(length, d_enc)
    keys, values = adapter.key(states), adapter.value(states)
    heads = []
    for head in torch.arange(d_dec).split(d_dec // n_heads):
        weights = torch.softmax(
            (adapter.query[head] @ keys[:, head].T) / (d_dec // n_heads) ** 0.5, -1
        )
        heads.append(weights @ values[:, head])
    hidden = adapter.attention_norm(adapter.out(torch.cat(heads)) + adapter.query)
    expected = adapter.output_norm(
        hidden + adapter.down(torch.nn.functional.gelu(adapter.up(hidden)))
    )
    got = adapter.project(states[None], torch.ones(1, length, dtype=torch.bool))
    torch.testing.assert_close(got[0], expected)


def test_the_attention_pooling_starts_as_the_mean_and_weighs_by_its_query():
    torch.manual_seed(0)
    states, mask = torch.randn(2, 3, 4), torch.tensor([[True, True, True], [True, True, False]])
    pooling, mean = POOLINGS["attention"](4), POOLINGS["mean"](4)
    torch.testing.assert_close(pooling.pool(states, mask), mean.pool(states, mask))
    torch.nn.init.normal_(pooling.query)
    weights = torch.softmax(states[1, :2] @ pooling.query / 2, -1)
    torch.testing.assert_close(pooling.pool(states, mask)[1], weights @ states[1, :2])


def test_the_mean_pooling_averages_equal_groups():
    states = torch.arange(12.0).reshape(6, 2)
    adapter = ADAPTERS["linear"](POOLINGS["mean"](2), 2, 2)
    pooled, mask = adapter.pooling(*group(states, torch.tensor([-1, 0, 0, 1, 1, -1]), 2))
    assert pooled[:, 0].tolist() == [[3.0, 4.0], [7.0, 8.0]]
    assert mask.all()


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


def test_the_same_seed_makes_the_same_adapter_and_another_seed_another(make_pair):
    first, same, other = (make_pair(seed=seed).fingerprint for seed in (3, 3, 4))
    assert first == same != other


def test_a_processor_is_rebuilt_from_the_bases_where_the_folder_holds_none(pair, tmp_path):
    pair.model.save_pretrained(tmp_path)
    processor = load_processor(tmp_path, pair.config)
    assert processor.to_dict() == pair.processor.to_dict()


@pytest.mark.parametrize(
    ("argument", "value", "nearest"), [("adapter", "mpl", "mlp"), ("pooling", "meen", "mean")]
)
def test_an_unknown_part_suggests_the_nearest(make_pair, argument, value, nearest):
    with pytest.raises(UserError, match=f"`{argument}` .*did you mean '{nearest}'"):
        make_pair(**{argument: value})


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


def test_a_model_that_reads_in_both_directions_is_refused_as_decoder(bases):
    with pytest.raises(UserError, match=r"`decoder` .*both directions.*swapped"):
        E2LLM.pair(
            str(bases / "encoder-bert"), str(bases / "encoder-bert"), dtype="float32", device="cpu"
        )


@pytest.mark.parametrize("decoder", tiny.DECODERS)
def test_every_family_is_saved_whole_and_loaded_again(make_pair, tmp_path, decoder):
    pair = make_pair(decoder=decoder)
    inputs = pair.processor(QUESTIONS, DOCUMENTS)
    pair.model.save_pretrained(tmp_path, full=True)
    torch.testing.assert_close(
        AutoModelForCausalLM.from_pretrained(tmp_path)(**inputs).logits, pair.model(**inputs).logits
    )


def test_the_residual_adapter_computes_its_equation_and_knows_the_order_of_a_group():
    torch.manual_seed(0)
    adapter = ADAPTERS["residual"](POOLINGS["tokens"](6), 6, 8)
    torch.nn.init.normal_(adapter.down.weight)
    states, mask = torch.randn(2, 3, 6), torch.tensor([[True, True, True], [True, False, False]])
    normed = adapter.input_norm(states)
    each = adapter.skip(normed) + adapter.down(torch.nn.functional.gelu(adapter.up(normed)))
    got = adapter.project(states, mask)
    torch.testing.assert_close(got[0], (each[0] * adapter.places[:3]).sum(0) / 3**0.5)
    torch.testing.assert_close(got[1], each[1, 0])  # a group of one is read as it is
    assert not torch.allclose(adapter.project(states.flip(1), mask)[0], got[0])


def test_the_residual_adapter_reads_groups_longer_than_it_has_places():
    adapter = ADAPTERS["residual"](POOLINGS["tokens"](6), 6, 8)
    states, mask = torch.randn(1, 70, 6), torch.ones(1, 70, dtype=torch.bool)
    assert adapter.project(states, mask).isfinite().all()


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
