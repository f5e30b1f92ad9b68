"""The answer: streamed, stopped, sampled, and from a cache that is used again."""

import pytest
import torch

from e2llm.errors import UserError
from tests import tiny
from tests.reading.conftest import TEXT


def test_a_stream_joined_is_the_answer(trained_pair):
    document = trained_pair.compress(TEXT)
    stream = trained_pair.stream("Who?", document, max_new_tokens=12)
    pieces = list(stream)
    assert (
        "".join(pieces).strip()
        == stream.answer.text
        == trained_pair.ask("Who?", document, max_new_tokens=12).text
    )
    assert stream.answer.usage.n_answer_tokens <= 12


def test_the_second_question_reuses_the_first_ones_cache_and_not_the_encoder(make_pair):
    pair = make_pair(trained=True)
    document = pair.compress(TEXT * 3)
    first = pair.ask("Who?", document, expand=0, max_new_tokens=6)
    calls = []
    hook = pair.model.encoder.register_forward_pre_hook(lambda *_: calls.append(1))
    second = pair.ask("When was it?", document, expand=0, max_new_tokens=6)
    again = pair.ask("Who?", document, expand=0, max_new_tokens=6)
    hook.remove()
    assert not calls
    assert first.usage.n_reused == 0
    assert second.usage.n_reused > document.n_soft
    assert again.text == first.text
    fresh = make_pair(trained=True)
    assert fresh.ask("When was it?", document, expand=0, max_new_tokens=6).text == second.text


@pytest.mark.parametrize("decoder", tiny.DECODERS)
def test_every_family_answers_the_same_from_a_reused_cache(make_pair, decoder):
    pair = make_pair(decoder=decoder, trained=True)
    document = pair.compress(TEXT)
    first = pair.ask("Who?", document, expand=0, max_new_tokens=6).text
    pair.ask("Where are the nine goats?", document, expand=0, max_new_tokens=6)
    assert pair.ask("Who?", document, expand=0, max_new_tokens=6).text == first


def test_sampling_repeats_with_a_seed_and_leaves_the_global_one_alone(pair, document):
    options = {"temperature": 1.0, "max_new_tokens": 10}
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    one, two, three = (pair.ask("Who?", document, seed=seed, **options).text for seed in (5, 5, 6))
    assert one == two != three
    assert torch.rand(1) == expected


def test_beams_answer_in_one_piece(pair, document):
    stream = pair.stream("Who?", document, num_beams=3, max_new_tokens=6)
    assert len(list(stream)) <= 1
    assert stream.answer.usage.n_answer_tokens >= 1


def test_an_abandoned_stream_stops_the_decoder_and_the_next_answer_is_right(pair, document):
    expected = pair.ask("Who?", document, max_new_tokens=8).text
    stream = pair.stream("Who?", document, max_new_tokens=200)
    next(stream)
    stream.close()
    assert pair.ask("Who?", document, max_new_tokens=8).text == expected


def test_an_answer_that_was_cut_says_so(pair, document):
    answer = pair.ask("Who?", document, max_new_tokens=3)
    assert answer.finish_reason == "length"
    assert answer.notices[-1] == "the answer was cut after 3 tokens (`max_new_tokens`)."


def test_an_answer_that_ends_says_nothing(make_pair, document):
    pair = make_pair()
    end = pair.processor.tokenizer.eos_token_id

    def force(module, args, logits):
        logits[..., end] = 1e4

    pair.model.decoder.get_output_embeddings().register_forward_hook(force)
    answer = pair.ask("Who?", max_new_tokens=3)
    assert (answer.finish_reason, answer.notices) == ("stop", ())


def test_a_closed_stream_has_what_was_written_and_says_that_it_was_cancelled(pair, document):
    stream = pair.stream("Who?", document, max_new_tokens=200)
    assert (stream.text, stream.finish_reason) == ("", None)
    written = next(stream)
    assert (stream.text, stream.finish_reason) == (written, None)
    stream.close()
    assert (stream.text, stream.finish_reason) == (written, "cancelled")
    assert stream.answer.text == written.strip()
    assert stream.answer.usage.n_answer_tokens > 0


def test_a_stream_that_was_closed_before_it_began_has_an_empty_answer(pair, document):
    stream = pair.stream("Who?", document)
    stream.close()
    assert (stream.answer.text, stream.finish_reason) == ("", "cancelled")
    assert list(stream) == []


def test_closing_a_stream_that_has_ended_changes_nothing(pair, document):
    stream = pair.stream("Who?", document, max_new_tokens=3)
    answer = stream.answer
    stream.close()
    assert stream.answer == answer
    assert stream.finish_reason == "length"


def test_an_error_inside_the_decoder_reaches_the_caller(make_pair, document):
    pair = make_pair()

    def fail(*_):
        raise RuntimeError("the decoder broke")

    pair.model.decoder.register_forward_pre_hook(fail)
    stream = pair.stream("Who?", pair.compress(TEXT), max_new_tokens=4)
    with pytest.raises(RuntimeError, match="the decoder broke"):
        next(stream)
    stream.close()
    assert stream.finish_reason is None
    with pytest.raises(UserError, match="ended before the answer was complete"):
        _ = stream.answer
