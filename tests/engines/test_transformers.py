"""The reference engine: streams that cross, a cache that never lies, errors that arrive."""

import copy
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import torch

from e2llm.engines import Generation, Sampling
from e2llm.engines.transformers import TransformersEngine


@pytest.fixture
def engine(pair):
    return TransformersEngine(pair.model.decoder, pair.processor.tokenizer)


@pytest.fixture(scope="module")
def prompts(pair):
    torch.manual_seed(0)
    shared = torch.randn(40, 32) * 0.1
    return [torch.cat([shared, torch.randn(n, 32) * 0.1]) for n in (5, 9, 1)]


def answer(engine, prompt, **options):
    return "".join(engine.stream(prompt, Sampling(max_new_tokens=10, **options), Generation()))


def test_a_reused_cache_gives_the_answer_of_a_fresh_one(pair, engine, prompts):
    fresh = [
        answer(TransformersEngine(pair.model.decoder, pair.processor.tokenizer), prompt)
        for prompt in prompts
    ]
    for order in ([0, 1, 2], [2, 1, 0], [1, 1, 0, 0]):
        for which in order:
            generation = Generation()
            assert (
                "".join(engine.stream(prompts[which], Sampling(max_new_tokens=10), generation))
                == fresh[which]
            )
    assert generation.n_reused == len(prompts[0]) - 1


def test_a_prompt_that_begins_the_one_before_is_answered_right(pair, engine, prompts):
    expected = answer(
        TransformersEngine(pair.model.decoder, pair.processor.tokenizer), prompts[0][:20]
    )
    answer(engine, prompts[0])
    assert answer(engine, prompts[0][:20]) == expected


def test_streams_that_cross_do_not_disturb_each_other(pair, engine, prompts):
    expected = [
        answer(TransformersEngine(pair.model.decoder, pair.processor.tokenizer), prompt)
        for prompt in prompts
    ]
    streams = [
        engine.stream(prompt, Sampling(max_new_tokens=10), Generation()) for prompt in prompts
    ]
    texts = [[] for _ in streams]
    running = list(range(len(streams)))
    while running:
        for which in list(running):
            piece = next(streams[which], None)
            if piece is None:
                running.remove(which)
            else:
                texts[which].append(piece)
    assert ["".join(text) for text in texts] == expected
    assert answer(engine, prompts[1]) == expected[1]


def test_beams_and_seeded_samples_leave_no_cache_behind_and_take_none(engine, prompts):
    seeded = [answer(engine, prompts[0], temperature=1.0, seed=3)]
    greedy = answer(engine, prompts[0])
    answer(engine, prompts[0], num_beams=2)
    seeded.append(answer(engine, prompts[0], temperature=1.0, seed=3))
    assert answer(engine, prompts[0]) == greedy
    seeded.append(answer(engine, prompts[0], temperature=1.0, seed=3))
    assert len(set(seeded)) == 1


def test_an_error_in_the_decoder_is_raised_to_the_reader_and_leaves_no_cache(pair, engine, prompts):
    expected = answer(engine, prompts[0])
    calls = []

    def fail(*_):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("the decoder broke")

    hook = pair.model.decoder.register_forward_pre_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="the decoder broke"):
            answer(engine, prompts[0])
    finally:
        hook.remove()
    assert answer(engine, prompts[0]) == expected


@contextmanager
def writing(pair, ids):
    """Let a decoder write these tokens and then end, whatever it reads."""
    left, end = iter(ids), pair.processor.tokenizer.eos_token_id

    def force(module, args, logits):
        forced = torch.full_like(logits, -1e4)
        forced[..., next(left, end)] = 1e4
        return forced

    hook = pair.model.decoder.get_output_embeddings().register_forward_hook(force)
    try:
        yield
    finally:
        hook.remove()


@pytest.mark.parametrize("num_beams", [1, 2])
@pytest.mark.parametrize(("n_tokens", "reason"), [(2, "length"), (3, "stop"), (9, "stop")])
def test_why_an_answer_ends_is_told(pair, engine, prompts, num_beams, n_tokens, reason):
    ids = pair.processor.text_ids("ab")[:2]
    generation, sampling = Generation(), Sampling(n_tokens, num_beams=num_beams)
    with writing(pair, ids):
        list(engine.stream(prompts[0], sampling, generation))
    assert generation.finish_reason == reason


@pytest.mark.parametrize("num_beams", [1, 2])
def test_half_a_character_at_the_cut_is_not_written(pair, engine, prompts, num_beams):
    ids = pair.processor.text_ids("so é🙂")
    for n_tokens in range(1, len(ids)):
        with writing(pair, ids):
            sampling = Sampling(n_tokens, num_beams=num_beams)
            text = "".join(engine.stream(prompts[0], sampling, Generation()))
        assert "so é🙂".startswith(text)
        assert "\ufffd" not in text


def test_a_sign_for_broken_bytes_that_stands_before_the_cut_stays(pair, engine, prompts):
    ids = [pair.processor.text_ids("é")[0], *pair.processor.text_ids("a b")]
    with writing(pair, ids):
        text = "".join(engine.stream(prompts[0], Sampling(len(ids)), Generation()))
    assert text == "\ufffda b"


def test_a_stream_that_is_closed_is_cancelled_and_one_that_fails_has_no_reason(
    pair, engine, prompts
):
    generation = Generation()
    stream = engine.stream(prompts[0], Sampling(100), generation)
    next(stream)
    stream.close()
    assert generation.finish_reason == "cancelled"
    generation = Generation()
    with pytest.raises(RuntimeError, match="size"):
        list(engine.stream(prompts[0][:, :5], Sampling(100), generation))  # of another width
    assert generation.finish_reason is None


def test_special_tokens_are_not_written(pair, engine, prompts):
    assert not any(
        token in answer(engine, prompts[0], temperature=2.0, seed=seed)
        for token in ("<eos>", "<|end|>")
        for seed in range(5)
    )


@pytest.mark.slow
def test_seeded_streams_that_cross_are_reproducible_and_leave_the_global_generator_alone(
    engine, prompts
):
    sampling = [Sampling(max_new_tokens=10, temperature=1.0, seed=seed) for seed in (1, 2)]
    expected = [
        answer(engine, prompt, temperature=1.0, seed=seed)
        for prompt, seed in zip(prompts, (1, 2), strict=False)
    ]
    torch.manual_seed(5)
    drawn = torch.rand(1)
    for _ in range(4):
        torch.manual_seed(5)
        streams = [
            engine.stream(prompt, one, Generation())
            for prompt, one in zip(prompts, sampling, strict=False)
        ]
        firsts = [next(stream) for stream in streams]
        assert [
            first + "".join(stream) for first, stream in zip(firsts, streams, strict=True)
        ] == expected
        assert torch.rand(1) == drawn


@pytest.mark.slow
def test_threads_that_ask_at_once_get_the_answers_of_one(pair, engine, prompts):
    expected = [
        answer(TransformersEngine(pair.model.decoder, pair.processor.tokenizer), prompt)
        for prompt in prompts
    ]
    with ThreadPoolExecutor(4) as pool:
        assert (
            list(pool.map(lambda which: answer(engine, prompts[which % 3]), range(24)))
            == expected * 8
        )


def test_a_cache_is_not_reused_once_the_weights_have_changed(make_pair, prompts):
    pair = make_pair()
    engine = TransformersEngine(pair.model.decoder, pair.processor.tokenizer)
    answer(engine, prompts[0])
    with torch.no_grad():
        pair.model.decoder.get_output_embeddings().weight.mul_(-1)
    generation = Generation()
    changed = "".join(engine.stream(prompts[0], Sampling(max_new_tokens=10), generation))
    assert generation.n_reused == 0
    assert changed == answer(
        TransformersEngine(pair.model.decoder, pair.processor.tokenizer), prompts[0]
    )


@pytest.mark.parametrize(
    "own",
    [
        {"cache_implementation": "static"},
        {"num_return_sequences": 2, "num_beams": 2},
        {"guidance_scale": 2.0},
        {"use_cache": False},
    ],
)
def test_a_checkpoints_own_generation_configuration_does_not_steer_the_engine(
    make_pair, prompts, own
):
    pair = make_pair()
    engine = TransformersEngine(pair.model.decoder, pair.processor.tokenizer)
    expected = answer(engine, prompts[0])
    for name, value in own.items():
        setattr(pair.model.decoder.generation_config, name, value)
    assert answer(engine, prompts[0]) == answer(engine, prompts[0]) == expected
    assert all(
        getattr(pair.model.decoder.generation_config, name) == value for name, value in own.items()
    )


@pytest.mark.usefixtures("ctrl_c")
def test_an_interrupt_stops_a_long_prompt_between_two_layers(pair, engine, prompts):
    """The reader is interrupted while the first layer works: the second never starts."""
    layers, seen = pair.model.decoder.model.layers, []

    def interrupt(*_):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.5)

    hooks = [
        layers[0].register_forward_hook(interrupt),
        layers[1].register_forward_hook(lambda *_: seen.append(1)),
    ]
    try:
        with pytest.raises(KeyboardInterrupt):
            answer(engine, prompts[0])
    finally:
        for hook in hooks:
            hook.remove()
    assert not seen


def test_rows_of_single_tokens_leave_onednn_out_and_nothing_else_does(pair, prompts):
    decoder = copy.deepcopy(pair.model.decoder).bfloat16()
    engine, seen = TransformersEngine(decoder, pair.processor.tokenizer), []
    decoder.model.layers[0].register_forward_hook(
        lambda module, args, output: seen.append((args[0].shape[1], torch.backends.mkldnn.enabled))
    )
    answer(engine, prompts[0].bfloat16(), repetition_penalty=1.0)
    assert seen[0] == (len(prompts[0]), True)
    assert len(seen) > 1
    assert set(seen[1:]) == {(1, False)}
    assert torch.backends.mkldnn.enabled
    next(
        engine.stream(prompts[1].bfloat16(), Sampling(max_new_tokens=10), Generation())
    )  # and is closed in the middle
    assert torch.backends.mkldnn.enabled
