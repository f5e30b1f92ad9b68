"""FocusLLM: candidates by hand, and the bare decoder where there are none."""

import pytest
import torch
from transformers import DynamicCache

from e2llm.errors import UserError, WindowError
from e2llm.evaluation.costs import Machine
from e2llm.methods import make_method
from e2llm.methods.base import Prompt
from e2llm.methods.compression.focusllm import _Writing
from e2llm.methods.decoders.cache import branch
from e2llm.methods.decoders.rotary import rotary, turn_by, turned
from e2llm.model.versions import cache_argument
from tests.evaluation.test_costs import counted
from tests.methods.fitting.training import (
    ANSWER,
    DECODERS,
    LONG,
    QUESTION,
    bare_score,
    check_edges,
    check_saved,
    check_training,
    disturb,
    scored,
)
from tests.methods.sharp import sharpen
from tests.tiny import TEXT

SPEC = "focusllm:chunk_tokens=100:local_tokens=60:fragment_tokens=20"


def by_hand(method, text, answer, decoder):
    """Score an answer token by token with the bare decoder.

    Every chunk is read with the fragment by itself, then the local context after the candidates.
    """
    ids = method.pair.processor.text_ids
    whole, kept = ids(text), method.look(text)
    head = ids(text[: len(text) - len(kept.tail[0].text)])
    chunks = [head[start : start + 100] for start in range(0, len(head), 100)]
    assert len(chunks) > 2
    assert len(chunks[-1]) < 100
    assert len(whole) - len(head) == 60
    prompt, nats = method.prompt(kept, QUESTION, 9).ids, []
    for place, token in enumerate(ids(answer)):
        local = prompt + ids(answer)[:place]
        candidates = DynamicCache(config=decoder.config)
        found = []
        for order, chunk in enumerate(chunks):
            cache = DynamicCache(config=decoder.config)
            read = torch.tensor([chunk + local[len(prompt) - 20 :]])
            decoder(input_ids=read, use_cache=True, **{cache_argument(): cache})
            turn = turn_by(torch.tensor([order - read.shape[1] + 1]), rotary(decoder).inv_freq)
            found.append(
                [
                    (turned(layer.keys[:, :, -1:], turn), layer.values[:, :, -1:])
                    for layer in cache.layers
                ]
            )
        for index in range(len(found[0])):
            candidates.update(
                *(torch.cat([one[index][part] for one in found], 2) for part in (0, 1)), index
            )
        logits = decoder(
            input_ids=torch.tensor([local]), use_cache=True, **{cache_argument(): candidates}
        ).logits[0, -1]
        nats.append(-logits.log_softmax(-1)[token].item())
    return nats


@pytest.mark.parametrize("decoder", DECODERS)
def test_without_chunks_it_is_the_bare_decoder(make_pair, decoder):
    pair = make_pair(decoder=decoder)
    method = make_method("focusllm", pair)
    disturb(method)
    assert scored(method, TEXT[:300]) == pytest.approx(bare_score(pair, TEXT[:300]), abs=1e-5)
    whole = make_method("full-text-base", pair)
    results = [each.answer(each.read(TEXT[:300]), QUESTION, 6) for each in (method, whole)]
    assert (results[0].text, results[0].positions) == (results[1].text, results[1].positions)


@pytest.mark.parametrize("decoder", ["llama", "qwen3"])
def test_as_it_begins_it_equals_the_bare_decoder_chunk_by_chunk_and_token_by_token(
    make_pair, decoder
):
    pair = make_pair(decoder=decoder)
    method = make_method(SPEC, pair)
    with torch.no_grad():
        expected = by_hand(method, LONG, ANSWER, pair.model.decoder)
    assert scored(method) == pytest.approx(expected, abs=1e-4)


def test_only_the_last_token_passes_the_added_projections(make_pair):
    method = make_method(SPEC, make_pair())
    ids = list(range(10, 40))
    chunk = method.model.read(ids[:20])
    before = method.model.candidates([method.model.read(ids[:20])], ids[20:], [9])[0]
    disturb(method)
    after = method.model.candidates([chunk], ids[20:], [9])[0]
    assert not torch.allclose(before.layers[0].keys, after.layers[0].keys, atol=1e-3)
    plain = method.model.read(ids[:29])
    assert all(
        torch.allclose(own.keys, other.keys, atol=1e-5)
        for own, other in zip(chunk.layers, plain.layers, strict=True)
    )


def test_candidates_for_many_places_are_those_for_each(make_pair):
    method = make_method(SPEC, make_pair())
    disturb(method)
    ids = list(range(10, 40))
    together = method.model.candidates(
        [method.model.read(ids[:15]), method.model.read(ids[:9])], ids[15:], [4, 9, 14]
    )
    for place, cache in zip([4, 9, 14], together, strict=True):
        alone = method.model.candidates(
            [method.model.read(ids[:15]), method.model.read(ids[:9])], ids[15:], [place]
        )[0]
        assert cache.get_seq_length() == 2
        for own, other in zip(cache.layers, alone.layers, strict=True):
            assert torch.allclose(own.keys, other.keys, atol=1e-5)
            assert torch.allclose(own.values, other.values, atol=1e-5)


@pytest.mark.parametrize("renew", [1, 3, 100])
def test_an_answer_is_what_the_likeliest_tokens_one_by_one_are(make_pair, renew):
    pair = sharpen(make_pair())
    method = make_method(f"{SPEC}:renew_tokens={renew}", pair)
    disturb(method)
    reading, ids = method.read(LONG), []
    for _ in range(7):
        with torch.no_grad():
            ids.append(int(method.logits(reading.kept, QUESTION, [*ids, 0])[-1].argmax()))
    for _ in range(2):  # the second time as the first: what is kept is not touched
        # Half a character at the cut is left out.
        written = pair.processor.tokenizer.decode(ids, skip_special_tokens=True)
        assert method.answer(reading, QUESTION, 7).text == written.rstrip("\ufffd").strip()


def test_candidates_that_are_made_again_say_more(make_pair):
    pair = make_pair()
    scores = []
    for renew in (1, 100):
        method = make_method(f"{SPEC}:renew_tokens={renew}", pair)
        disturb(method)
        scores.append(scored(method))
    assert scores[0][0] == pytest.approx(scores[1][0], abs=1e-5)
    assert scores[0][1:] != pytest.approx(scores[1][1:], abs=1e-5)


def test_training_reaches_the_added_projections_and_nothing_else(make_pair):
    method = make_method(SPEC, make_pair())
    names = {
        name.removeprefix("decoder.model.layers.").replace("self_attn.", "")
        for name in method.trained()
    }
    assert names == {
        f"{place}_proj.added.weight" for place in ("0.q", "0.k", "0.v", "0.o", "1.k", "1.v")
    }
    check_training(method)


def test_questions_do_not_touch_the_chunks_caches(make_pair):
    method = make_method(SPEC, make_pair())
    reading = method.read(LONG)
    before = [[layer.keys.clone() for layer in chunk.layers] for chunk in reading.kept.chunks]
    first, _, again = (
        method.answer(reading, question, 4)
        for question in (QUESTION, "When was the bridge built?", QUESTION)
    )
    assert (first.text, first.flops) == (again.text, again.flops)
    for chunk, keys in zip(reading.kept.chunks, before, strict=True):
        assert all(
            torch.equal(layer.keys, own) for layer, own in zip(chunk.layers, keys, strict=True)
        )


@pytest.mark.parametrize("n_tokens", [1, 4])
def test_an_answer_costs_as_much_as_the_library_counts(make_pair, n_tokens):
    pair = sharpen(make_pair())
    method = make_method(SPEC, pair)
    reading = method.read(LONG)
    result = method.answer(reading, QUESTION, n_tokens)
    assert result.n_answer_tokens == n_tokens
    ids = method.prompt(reading.kept, QUESTION, n_tokens).ids

    def run() -> None:  # as `generate` does, in a thread of its own, which the counter does not see
        chunks = [branch(chunk) for chunk in reading.kept.chunks]
        writing = _Writing(method.model, chunks, ids, 20, 1)
        inputs = {"inputs_embeds": method.embed(Prompt(ids[-1:]))[None]}
        options = {"logits_to_keep": 1, "use_cache": True, cache_argument(): writing.cache}
        with writing.renewing():
            for _ in range(n_tokens):
                method.decoder(**inputs, **options)
                inputs = {"input_ids": torch.tensor([[7]])}

    assert result.flops == pytest.approx(counted(run), rel=0.02)
    assert reading.flops == pytest.approx(counted(lambda: method.look(LONG)), rel=1e-6)


def test_edges_saving_and_refusals(make_pair, tmp_path):
    pair = make_pair()
    check_edges(SPEC, pair)
    assert scored(make_method(SPEC, pair), "") == pytest.approx(bare_score(pair), abs=1e-5)
    check_saved(make_method(SPEC, pair), SPEC, pair, tmp_path)
    method = make_method(SPEC, pair)
    n_tokens = len(pair.processor.text_ids(LONG))
    assert method.positions(n_tokens) == 60 + len(method.keep(LONG).chunks)
    assert Machine().refusal(method, 10_000, 4) is None
    assert "window" in Machine().refusal(method, 100_000, 4)
    assert "memory" in Machine(free_bytes=2_000_000).refusal(method, 10_000, 4)
    with pytest.raises(WindowError, match="window"):
        method.prompt(method.keep(LONG), "What? " * 200, 4)
    with pytest.raises(UserError, match="renew_tokens"):
        make_method("focusllm:renew_tokens=0", pair)


@pytest.mark.parametrize(
    ("decoder", "words"),
    [("gpt2", "Llama"), ("phi", "Llama"), ("gemma2", "sliding window"), ("gemma3", "rotary")],
)
def test_other_decoders_are_refused(make_pair, decoder, words):
    with pytest.raises(UserError, match=words):
        make_method("focusllm", make_pair(decoder=decoder))
