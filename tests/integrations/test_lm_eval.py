"""lm-evaluation-harness: what the pair reads of a request, and what it computes of it."""

import pytest
import torch

from e2llm.errors import WindowError
from tests.integrations.requests import SHORT, request
from tests.tiny import TEXT

pytest.importorskip("lm_eval")

from e2llm.integrations.lm_eval import CompressingLM

QUESTION = "\n\nQuestion: Who approved the budget?\nAnswer:"
LONG = "Read this.\n\n" + TEXT + QUESTION
RECORD = {"passage": TEXT, "question": "Who approved the budget?", "id": 7}


@pytest.fixture(scope="module")
def bare(bases):
    """The harness's own model of the decoder alone."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(
        pretrained=str(bases / "decoder-plain"), dtype="float32", device="cpu", batch_size=1
    )


def by_hand(lm, read, ids, soft_tokens):
    """Return the log-likelihood of `ids` after the ids `read`, in which None is the soft tokens."""
    decoder = lm.pair.base.decoder
    look_up = decoder.get_input_embeddings()
    parts = [soft_tokens if part is None else look_up(torch.tensor(part)) for part in (*read, ids)]
    with torch.no_grad():
        logits = decoder(inputs_embeds=torch.cat(parts)[None]).logits[0]
    scores = logits[-len(ids) - 1 : -1].float().log_softmax(-1)
    return float(scores[range(len(ids)), ids].sum())


# What of a request is the document


@pytest.mark.parametrize(
    ("context", "record", "document"),
    [
        (LONG, RECORD, TEXT),
        (f"{TEXT}\n\nAn example: yes.\n\n{LONG}", RECORD, TEXT),  # the last of two
        # No field: all but the tail, from a line's start.
        (LONG, {}, LONG[: LONG.rindex("Question")]),
        (LONG, {"input": LONG}, LONG[: LONG.rindex("Question")]),  # one field for all
        (LONG, None, LONG[: LONG.rindex("Question")]),
        (QUESTION, RECORD, ""),
        ("", {}, ""),
    ],
)
def test_the_document_is_the_longest_field_that_stands_in_the_request_or_all_but_its_tail(
    make_lm, context, record, document
):
    start, end = make_lm().reader.spans(context, record)[0]
    assert context[start:end] == document
    assert start == (context.rindex(document) if document else 0)


def test_the_chat_markers_before_the_user_s_words_are_no_document(make_pair, tmp_path):
    make_pair(trained=True).save(tmp_path)
    lm = CompressingLM(str(tmp_path), ratio=4, expand=0, dtype="float32", device="cpu", **SHORT)
    context = lm.apply_chat_template([{"role": "user", "content": TEXT + QUESTION}])
    start, end = lm.reader.spans(context, {})[0]
    assert context[:start] == "<|start|>user\n"
    assert context[end:].endswith("Answer:<|end|>\n<|start|>assistant\n")
    prompt, _ = lm.reader.read(context)
    assert prompt.ids[0] == lm.tokenizer.convert_tokens_to_ids("<|start|>")


# What is computed


def test_a_log_likelihood_equals_a_direct_computation(make_lm):
    lm = make_lm()
    [(total, greedy)] = lm.loglikelihood(
        [request(LONG, " The mayor", record=RECORD)], disable_tqdm=True
    )
    ids = lm.tokenizer(" The mayor")["input_ids"]
    read = (lm.tokenizer("Read this.\n\n")["input_ids"], None, lm.tokenizer(QUESTION)["input_ids"])
    document = lm.pair.compress(TEXT, ratio=4)
    assert document.n_soft < document.n_tokens / 3
    assert total == pytest.approx(by_hand(lm, read, ids, document.soft_tokens), abs=1e-4)
    assert not greedy


def test_what_is_too_short_to_be_compressed_is_what_the_bare_decoder_says(make_lm, bare):
    lm, text = make_lm(least_chars=10_000), TEXT[:150]
    requests = [
        request(text, " The mayor"),
        request(text + " ", "the budget"),
        request("", "The mayor"),
    ]
    for own, theirs in zip(
        lm.loglikelihood(requests, True), bare.loglikelihood(requests, True), strict=True
    ):
        assert own == (pytest.approx(theirs[0], abs=1e-4), theirs[1])
    rolling = [request(text), request("The")]
    assert lm.loglikelihood_rolling(rolling, True) == pytest.approx(
        bare.loglikelihood_rolling(rolling, True), abs=1e-4
    )
    for settings in (
        {"until": ["\n"], "max_gen_toks": 12},
        {"until": "e", "max_gen_toks": 12, "do_sample": False, "temperature": 1.0},
    ):
        writing = [request(text, settings)]
        assert lm.generate_until(writing, True) == bare.generate_until(writing, True)


def test_a_greedy_continuation_is_told(make_lm):
    lm = make_lm()
    [text] = lm.generate_until([request(LONG, {"max_gen_toks": 3}, record=RECORD)], True)
    [(_, greedy)] = lm.loglikelihood([request(LONG, text, record=RECORD)], True)
    assert greedy


def test_expanded_chunks_stand_between_the_soft_tokens_and_the_question(make_lm):
    lm = make_lm(expand=2)
    prompt, _ = lm.reader.read(LONG, RECORD)
    assert prompt.soft_tokens is not None
    shown = lm.tokenizer.decode([id for id in prompt.ids if id != lm.pair.processor.placeholder_id])
    before, _, after = shown.partition("From document (characters ")
    assert before.startswith("Read this.")
    assert after.endswith(QUESTION)
    assert make_lm().reader.read(LONG, RECORD)[0].ids[-5:] == prompt.ids[-5:]


def test_an_untrained_pair_reads_expanded_chunks_alone(make_pair, tmp_path):
    make_pair(decoder="plain").save(tmp_path)
    lm = CompressingLM(str(tmp_path), expand=1, dtype="float32", device="cpu", **SHORT)
    prompt, _ = lm.reader.read(LONG, RECORD)
    assert prompt.soft_tokens is None
    assert "From document" in lm.tokenizer.decode(prompt.ids)


def test_what_does_not_fit_is_compressed_more_and_that_is_said(make_lm, caplog):
    lm = make_lm(ratio=1)
    prompt, _ = lm.reader.read(
        "Read this.\n" + 12 * TEXT + QUESTION, {"passage": 12 * TEXT}, n_answer=20
    )
    window = lm.pair.config.decoder_window
    assert window / 3 < len(prompt.ids) <= window - 20
    assert "ratio=1 does not fit" in caplog.text


def test_examples_that_do_not_fit_are_compressed_with_the_document(make_lm):
    lm = make_lm()
    context = "".join(f"Example {n}. {TEXT}" for n in range(6)) + LONG
    prompt, _ = lm.reader.read(context, RECORD)
    assert prompt.ids[0] == lm.pair.processor.placeholder_id
    assert lm.tokenizer.decode(prompt.ids[-10:]) in QUESTION


def test_a_tail_that_no_window_holds_is_an_error(make_lm):
    lm = make_lm(tail_chars=3_000)
    with pytest.raises(WindowError):
        lm.reader.read(8 * TEXT, {})


def test_of_a_long_text_every_piece_follows_the_soft_tokens_of_what_is_before(make_lm):
    lm, text = make_lm(), 4 * TEXT
    window = lm.pair.config.decoder_window
    pieces = list(lm.reader.pieces(text))
    assert "".join(lm.tokenizer.decode(ids) for _, ids in pieces) == text
    for prompt, ids in pieces:
        assert len(ids) <= window // 2
        assert len(prompt.ids) + len(ids) <= window
    start, total = 0, 0.0
    for place, (prompt, ids) in enumerate(pieces):
        if place:
            document = lm.pair.compress(text[:start], ratio=lm.reader._last.ratio)
            torch.testing.assert_close(prompt.soft_tokens, document.soft_tokens)
            total += by_hand(lm, (None,), ids, prompt.soft_tokens)
        else:
            total += by_hand(lm, ([lm.tokenizer.bos_token_id],), ids, None)
        start += len(lm.tokenizer.decode(ids))
    assert len(pieces) > 2
    assert lm.loglikelihood_rolling([request(text)], True) == [pytest.approx(total, abs=1e-2)]


def test_a_document_is_compressed_once_for_all_requests_about_it(make_lm, monkeypatch):
    lm = make_lm()
    n_calls, compress = [], lm.pair.compress
    monkeypatch.setattr(
        lm.pair, "compress", lambda *given, **named: n_calls.append(1) or compress(*given, **named)
    )
    lm.loglikelihood(
        [request(LONG, choice, record=RECORD) for choice in (" yes", " no", " the mayor")], True
    )
    assert len(n_calls) == 1
