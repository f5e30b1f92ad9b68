"""StreamingLLM and LM-Infinite against full attention and against dense references by hand."""

import math

import pytest
import torch

from e2llm.errors import E2LLMError, UserError
from e2llm.evaluation.costs import Machine
from e2llm.methods import make_method
from e2llm.methods.decoders.lambda_attention import lambda_cache, lambda_decoder
from e2llm.methods.decoders.rotary import rotary
from e2llm.model.attention import GROUPED
from e2llm.model.versions import cache_argument
from tests.evaluation.test_costs import counted
from tests.methods.sharp import sharpen
from tests.tiny import TEXT

QUESTION = "Who approved the budget?"
ANSWER = "The mayor did."
LONG = TEXT * 8
NAMES = ["streaming-llm", "lm-infinite"]


@pytest.fixture(scope="module")
def pair(make_pair):
    """A pair whose decoder attends sharply; not to be changed."""
    return sharpen(make_pair(trained=True))


def streaming_distances(n, n_sinks, n_recent):
    """Distances by the paper's procedure: a cache token by token, positions counted within it."""
    distances, cache = torch.full((n, n), math.nan), []
    for token in range(n):
        for place, kept in enumerate([*cache, token]):
            distances[token, kept] = len(cache) - place
        cache.append(token)
        if len(cache) > n_sinks + n_recent:
            del cache[n_sinks]
    return distances


def infinite_distances(n, n_first, n_near):
    """Distances by the paper's formulas: the Λ mask, and min(distance, cap)."""
    distance = (torch.arange(n)[:, None] - torch.arange(n)).float()
    seen = (distance >= 0) & ((distance < n_near) | (torch.arange(n) < n_first))
    return torch.where(seen, distance.clamp(max=n_near), math.nan)


def dense_logits(decoder, ids, distances):
    """Run a tiny Llama by hand: each query meets each key at a given distance, or not at all."""
    angles = distances.nan_to_num()[..., None] * rotary(decoder).inv_freq  # (seq, seq, 4)
    cos, sin = (torch.cat([part, part], -1) for part in (angles.cos(), angles.sin()))
    model = decoder.model
    hidden = model.embed_tokens(torch.tensor(ids))
    for layer in model.layers:
        attention, states = layer.self_attn, layer.input_layernorm(hidden)
        query, key, value = (
            part(states).view(len(ids), -1, 8).transpose(0, 1)
            for part in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        key, value = key.repeat_interleave(2, 0), value.repeat_interleave(2, 0)
        half = torch.cat([-query[..., 4:], query[..., :4]], -1)
        turned = query[:, :, None] * cos + half[:, :, None] * sin  # (heads, queries, keys, 8)
        scores = (turned * key[:, None]).sum(-1) / math.sqrt(8)
        weights = scores.masked_fill(distances.isnan(), -math.inf).softmax(-1)
        hidden = hidden + attention.o_proj((weights @ value).transpose(0, 1).reshape(len(ids), -1))
        hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    return decoder.lm_head(model.norm(hidden))


@pytest.mark.parametrize("piece_tokens", [1, 7, 256])
@pytest.mark.parametrize(
    ("spec", "distances"),
    [
        ("streaming-llm:sink_tokens=4:recent_tokens=20", lambda n: streaming_distances(n, 4, 20)),
        ("streaming-llm:sink_tokens=0:recent_tokens=20", lambda n: streaming_distances(n, 0, 20)),
        ("lm-infinite:first_tokens=10:near_tokens=24", lambda n: infinite_distances(n, 10, 24)),
    ],
)
def test_beyond_the_window_it_equals_a_dense_reference_by_hand(pair, spec, distances, piece_tokens):
    method = make_method(f"{spec}:piece_tokens={piece_tokens}", pair)
    answer = pair.processor.text_ids(ANSWER)
    reading = method.read(TEXT)
    prompt = method.prompt(reading.kept, QUESTION, len(answer)).ids
    ids = prompt + answer
    with torch.inference_mode():
        logits = dense_logits(pair.model.decoder, ids, distances(len(ids))).log_softmax(-1)
    expected = [
        -logits[len(prompt) - 1 + place, token].item() for place, token in enumerate(answer)
    ]
    assert method.score(reading, QUESTION, ANSWER).tolist() == pytest.approx(expected, abs=1e-4)
    whole = make_method("full-text", pair)
    assert whole.score(whole.read(TEXT), QUESTION, ANSWER).tolist() != pytest.approx(
        expected, abs=1e-2
    ), "the mask matters here"


@pytest.mark.parametrize("spec", ["streaming-llm:recent_tokens=20", "lm-infinite:near_tokens=24"])
def test_what_is_written_beyond_the_window_is_what_the_dense_reference_writes(pair, spec):
    method = make_method(spec, pair)
    reading = method.read(TEXT)
    ids = list(method.prompt(reading.kept, QUESTION, 6).ids)
    n_prompt = len(ids)
    while len(ids) < n_prompt + 6:
        if spec.startswith("streaming"):
            distances = streaming_distances(len(ids), 4, 20)
        else:
            distances = infinite_distances(len(ids), 10, 24)
        with torch.inference_mode():
            ids.append(int(dense_logits(pair.model.decoder, ids, distances)[-1].argmax()))
    assert 2 not in ids[n_prompt:], "an answer that ends early would prove less"
    # Half a character at the cut is left out.
    written = pair.processor.tokenizer.decode(ids[n_prompt:], skip_special_tokens=True)
    assert method.answer(reading, QUESTION, 6).text == written.rstrip("\ufffd").strip()


@pytest.mark.parametrize(
    "decoder", ["llama", "qwen2", "qwen3", "mistral", "phi", "gpt-neox", "olmo", "olmo2"]
)
@pytest.mark.parametrize("name", NAMES)
def test_while_the_text_fits_it_equals_full_attention(make_pair, name, decoder):
    pair = sharpen(make_pair(decoder=decoder))
    method, whole = make_method(f"{name}:piece_tokens=50", pair), make_method("full-text", pair)
    expected = whole.score(whole.read(TEXT), QUESTION, ANSWER)
    assert method.score(method.read(TEXT), QUESTION, ANSWER).tolist() == pytest.approx(
        expected.tolist(), abs=1e-4
    )
    results = [each.answer(each.read(TEXT), QUESTION, 8) for each in (method, whole)]
    assert results[0].text == results[1].text
    assert results[0].positions == results[1].positions


@pytest.mark.parametrize("decoder", ["llama", "phi", "gpt-neox", "qwen3"])
@pytest.mark.parametrize("spec", ["streaming-llm:recent_tokens=20", "lm-infinite:near_tokens=24"])
def test_pieces_change_nothing(make_pair, decoder, spec):
    pair = sharpen(make_pair(decoder=decoder))
    scores = []
    for piece_tokens in (1, 33):
        method = make_method(f"{spec}:piece_tokens={piece_tokens}", pair)
        scores.append(method.score(method.read(TEXT), QUESTION, ANSWER).tolist())
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


@pytest.mark.parametrize(
    ("spec", "most"), [("streaming-llm:recent_tokens=60", 64), ("lm-infinite:near_tokens=60", 69)]
)
def test_the_memory_of_the_cache_is_flat(pair, spec, most):
    method = make_method(spec, pair)
    held = set()
    for text in (TEXT, LONG, LONG * 4):
        layers = method.read(text).kept.cache.layers
        held.add(
            tuple(
                states.untyped_storage().nbytes()
                for layer in layers
                for states in (layer.keys, layer.values)
            )
        )
        assert {layer.keys.shape[-2] for layer in layers} == {most}
    # Two heads of 8 in float32; two layers, keys and values.
    assert held == {(most * 2 * 8 * 4,) * 4}


@pytest.mark.parametrize("name", NAMES)
def test_questions_do_not_touch_the_documents_cache(pair, name):
    method = make_method(name, pair)
    reading = method.read(LONG)
    before = [layer.keys.clone() for layer in reading.kept.cache.layers]
    first, _, again = (
        method.answer(reading, question, 4)
        for question in (QUESTION, "When was the bridge built?", QUESTION)
    )
    assert first.text == again.text
    assert first.n_reused == again.n_reused == len(reading.kept.ids)
    assert first.positions - first.n_reused < 60, "the document is not read again"
    assert all(
        torch.equal(layer.keys, keys)
        for layer, keys in zip(reading.kept.cache.layers, before, strict=True)
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_weights_are_shared_and_the_pairs_own_decoder_is_left_alone(pair, name):
    own = pair.model.decoder
    method = make_method(name, pair)
    method.answer(method.read(TEXT), QUESTION, 2)
    assert all(
        mine is theirs
        for mine, theirs in zip(method.decoder.parameters(), own.parameters(), strict=True)
    )
    assert own.config._attn_implementation == GROUPED
    assert not own._forward_pre_hooks


@pytest.mark.parametrize("spec", ["streaming-llm:recent_tokens=100", "lm-infinite:near_tokens=101"])
def test_reading_costs_as_much_as_the_library_counts(pair, spec):
    method = make_method(spec, pair)
    reading = method.read(LONG)
    twin = lambda_decoder(pair.model.decoder, method.shape)

    def run() -> None:
        cache = lambda_cache(twin, method.shape)
        for start in range(0, len(reading.kept.ids), 256):
            piece = torch.tensor([reading.kept.ids[start : start + 256]])
            twin(input_ids=piece, logits_to_keep=1, **{cache_argument(): cache})

    assert reading.flops == pytest.approx(counted(run), rel=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_the_length_costs_time_alone(pair, name):
    method = make_method(name, pair)
    assert Machine(free_bytes=10**8).refusal(method, 10**6, 4) is None
    assert "time" in Machine(flops_per_s=1e9, limit_s=10).refusal(method, 10**6, 4)


@pytest.mark.parametrize(
    ("decoder", "words"), [("gpt2", "rotary"), ("gemma2", "sliding window"), ("gemma3", "rotary")]
)
def test_a_decoder_that_cannot_attend_so_is_refused(make_pair, decoder, words):
    with pytest.raises(E2LLMError, match=words):
        make_method("lm-infinite", make_pair(decoder=decoder))


@pytest.mark.parametrize(
    "spec",
    ["streaming-llm:sink_tokens=512", "lm-infinite:near_tokens=0", "lm-infinite:piece_tokens=0"],
)
def test_sizes_that_leave_nothing_are_refused(pair, spec):
    with pytest.raises(UserError, match="at least 1"):
        make_method(spec, pair)
