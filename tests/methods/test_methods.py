"""Methods: each is right before it is compared."""

import importlib.util

import pytest
import torch

from e2llm.errors import E2LLMError, UserError, WindowError
from e2llm.evaluation.costs import Machine
from e2llm.methods import METHODS, make_method
from e2llm.methods.base import NAME
from e2llm.methods.text.base import budget
from e2llm.pair import E2LLM
from tests import tiny
from tests.tiny import TEXT

QUESTION = "Who approved the budget?"
LONG = TEXT * 4
INSTALLED = [
    name for name in METHODS if name != "longllmlingua" or importlib.util.find_spec("llmlingua")
]


@pytest.mark.parametrize("name", INSTALLED)
def test_every_method_reads_once_answers_and_scores_many(trained_pair, name):
    method = make_method(name, trained_pair)
    reading = method.read(TEXT)
    results = [
        method.answer(reading, question, 4)
        for question in (QUESTION, "When was the bridge built?", QUESTION)
    ]
    assert results[0].text == results[2].text
    for result in results:
        assert 0 < result.n_answer_tokens <= 4
        assert 0 < result.first_token_s <= result.total_s
        assert 0 <= result.n_soft <= result.positions
        assert result.flops > 0
    nats = method.score(reading, QUESTION, "The mayor did.")
    assert nats.shape == (len(trained_pair.processor.text_ids("The mayor did.")),)
    assert (nats > 0).all()
    assert torch.equal(nats, method.score(reading, QUESTION, "The mayor did."))


@pytest.mark.parametrize("name", INSTALLED)
def test_every_method_says_why_it_refuses(trained_pair, name):
    method = make_method(name, trained_pair)
    assert Machine().refusal(method, 100, 4) is None
    assert method.window is None or "window" in Machine().refusal(method, 100, method.window)
    assert "memory" in Machine(free_bytes=10).refusal(method, 100, 4)
    assert "time" in Machine(flops_per_s=1e6, limit_s=1e-3).refusal(method, 100, 4)
    assert (Machine().refusal(method, 10**6, 4) is None) == (
        method.role in ("floor", "equal budget") or method.window is None
    )


@pytest.mark.parametrize("name", INSTALLED)
def test_every_hyper_parameter_is_a_setting_that_can_be_given(trained_pair, name):
    settings = make_method(name, trained_pair).settings
    assert "pair" not in settings
    for field, value in settings.items():
        given = "null" if value is None else value
        assert make_method(f"{name}:{field}={given}", trained_pair).settings == settings


@pytest.mark.parametrize("expand", [0, 2])
def test_e2llm_answers_as_the_pair_does(trained_pair, expand):
    method = make_method(f"e2llm:ratio=4:expand={expand}", trained_pair)
    document = trained_pair.compress(TEXT, NAME, 4)
    answer = trained_pair.ask(QUESTION, document, expand, max_new_tokens=8)
    result = method.answer(method.read(TEXT), QUESTION, 8)
    assert (result.text, result.positions, result.n_soft) == (
        answer.text,
        answer.usage.positions,
        answer.usage.n_soft,
    )


def test_without_the_document_the_decoder_is_alone(trained_pair):
    method = make_method("no-document", trained_pair)
    answer = trained_pair.ask(QUESTION, max_new_tokens=8)
    result = method.answer(method.read(TEXT), QUESTION, 8)
    assert (result.text, result.positions) == (answer.text, answer.usage.positions)


def test_the_full_text_is_in_the_prompt(trained_pair):
    method = make_method("full-text", trained_pair)
    ids = method.prompt(method.keep(TEXT), QUESTION, 4).ids
    assert TEXT.strip() in trained_pair.processor.tokenizer.decode(ids)
    with pytest.raises(WindowError, match="window"):
        method.answer(method.read(LONG), QUESTION, 4)


@pytest.fixture(scope="module")
def wide_pair(bases, tmp_path_factory) -> E2LLM:
    """A pair whose decoder has a wider window."""
    decoder = tiny.make_decoder(tmp_path_factory.mktemp("wide"), max_position_embeddings=2048)
    return E2LLM.pair(
        str(bases / "encoder-bert"),
        decoder,
        chunk_chars=120,
        ratio=4,
        dtype="float32",
        device="cpu",
        trained=True,
    )


def test_retrieval_of_every_chunk_is_reading_the_text(wide_pair):
    pair = wide_pair
    every, whole = make_method("rag:ratio=1:expand=8", pair), make_method("full-text", pair)
    assert (
        every.prompt(every.keep(TEXT), QUESTION, 4).ids
        == whole.prompt(whole.keep(TEXT), QUESTION, 4).ids
    )
    results = [method.answer(method.read(TEXT), QUESTION, 4) for method in (every, whole)]
    assert results[0].text == results[1].text


def test_retrieval_reads_the_chunks_that_expand_would(trained_pair):
    method = make_method("rag:ratio=chunk:expand=2", trained_pair)
    text = trained_pair.processor.tokenizer.decode(
        method.prompt(method.keep(TEXT), QUESTION, 4).ids
    )
    best = trained_pair.ask(QUESTION, trained_pair.compress(TEXT), 1, max_new_tokens=1).expanded[0]
    assert best.text.strip() in text


@pytest.mark.parametrize("expand", [0, 1, 3])
@pytest.mark.parametrize("name", ["head", "tail", "ends", "rag"])
def test_rivals_at_equal_budget_use_about_as_many_positions_as_e2llm(wide_pair, name, expand):
    rival, own = (
        make_method(f"{spec}:ratio=4:expand={expand}", wide_pair) for spec in (name, "e2llm")
    )
    used, allowed = (
        len(method.prompt(method.keep(LONG), QUESTION, 4).ids) for method in (rival, own)
    )
    # Each with its place, and what the chunks that E2LLM expands differ from average ones.
    n_passages = 2 if name == "ends" else 1
    slack = 50 if name == "rag" else 50 * (n_passages + expand)
    assert allowed - 150 <= used <= allowed + slack, (used, allowed)


def test_retrieval_beside_an_untrained_pair_reads_what_it_expands(pair):
    rag, own = make_method("rag:expand=2", pair), make_method("e2llm:expand=2", pair)
    assert (
        rag.prompt(rag.keep(TEXT), QUESTION, 4).ids == own.prompt(own.keep(TEXT), QUESTION, 4).ids
    )


@pytest.mark.parametrize(
    ("keeps", "first", "last"), [("head", True, False), ("tail", False, True), ("ends", True, True)]
)
def test_truncation_keeps_what_it_says(trained_pair, keeps, first, last):
    passages = make_method(f"{keeps}:ratio=8:expand=0", trained_pair).keep(TEXT)
    joined = "".join(passage.text for passage in passages)
    assert joined.startswith(TEXT[:20]) == first
    assert joined.endswith(TEXT[-20:]) == last
    for passage in passages:
        assert TEXT[passage.start : passage.end] == passage.text
    assert len(trained_pair.processor.text_ids(joined)) <= budget(trained_pair, TEXT, 8, 0) + 2


def test_truncation_of_a_short_text_cuts_nothing(trained_pair):
    method = make_method("ends:ratio=1:expand=0", trained_pair)
    assert method.keep("A short text.")[0].text == "A short text."


def test_the_base_decoder_is_the_pairs_before_training(make_pair):
    pair = make_pair(trained=True)
    base, own = make_method("full-text-base", pair), make_method("full-text", pair)
    assert torch.equal(
        base.score(base.read(TEXT), QUESTION, "The mayor."),
        own.score(own.read(TEXT), QUESTION, "The mayor."),
    )
    before = base.score(base.read(TEXT), QUESTION, "The mayor.")
    with torch.no_grad():
        for parameter in pair.model.decoder.parameters():
            parameter.mul_(1.5)
    assert torch.equal(base.score(base.read(TEXT), QUESTION, "The mayor."), before)
    assert not torch.equal(own.score(own.read(TEXT), QUESTION, "The mayor."), before)


def test_a_base_decoder_without_a_name_cannot_be_had(make_pair):
    pair = make_pair()
    pair.config.decoder_name = None
    with pytest.raises(E2LLMError, match="does not name its decoder"):
        make_method("full-text-base", pair)


def test_a_second_question_finds_the_text_in_the_cache(trained_pair):
    method = make_method("full-text", trained_pair)
    reading = method.read(TEXT)
    first, second = (
        method.answer(reading, question, 4) for question in (QUESTION, "When was the bridge built?")
    )
    assert first.n_reused == 0
    assert second.n_reused > 100
    assert second.flops < first.flops
    assert method.answer(method.read(TEXT), QUESTION, 4).n_reused == 0, (
        "another reading begins with an empty cache"
    )


@pytest.mark.parametrize("decoder", ["llama", "gpt2", "gemma2", "qwen3"])
def test_a_score_is_the_negative_log_likelihood_of_the_answers_tokens(make_pair, decoder):
    pair = make_pair(decoder=decoder)
    method = make_method("full-text", pair)
    answer = pair.processor.text_ids("The mayor.")
    prompt = method.prompt(method.keep(TEXT), QUESTION, 8).ids
    with torch.inference_mode():
        logits = pair.model.decoder(input_ids=torch.tensor([prompt + answer])).logits[0]
    said = logits[len(prompt) - 1 : -1].log_softmax(-1)  # (n_answer_tokens, vocab)
    expected = [-said[place, token].item() for place, token in enumerate(answer)]
    nats = method.score(method.read(TEXT), QUESTION, "The mayor.")
    assert nats.tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("e2lm", "did you mean 'e2llm'"),
        ("e2llm:ratoi=4", "did you mean 'ratio'"),
        ("e2llm:ratio", "FIELD=VALUE"),
        ("ends:keeps=middle", "keeps"),
    ],
)
def test_unknown_names_suggest_the_nearest(pair, spec, words):
    with pytest.raises(UserError, match=words):
        make_method(spec, pair)
