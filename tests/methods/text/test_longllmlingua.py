"""LongLLMLingua: the package around the pair's decoder. Without the package, that it says so."""

import importlib.util

import pytest
import torch

from e2llm.errors import MissingPackageError
from e2llm.evaluation.costs import Machine
from e2llm.methods import make_method
from e2llm.methods.text.longllmlingua import LongLlmLingua, _Scorer
from e2llm.model.operations import linear_weights
from e2llm.pair import E2LLM
from tests import tiny
from tests.methods.sharp import sharpen
from tests.tiny import TEXT

QUESTION = "Who approved the budget?"
LONG = TEXT * 8
needs_package = pytest.mark.skipif(
    importlib.util.find_spec("llmlingua") is None, reason="llmlingua is not installed"
)


@pytest.fixture(scope="module")
def pair(bases, tmp_path_factory) -> E2LLM:
    """A pair whose decoder attends sharply and has a wider window; not to be changed."""
    decoder = tiny.make_decoder(tmp_path_factory.mktemp("wide"), max_position_embeddings=2048)
    return sharpen(
        E2LLM.pair(
            str(bases / "encoder-bert"),
            decoder,
            chunk_chars=120,
            ratio=4,
            dtype="float32",
            device="cpu",
            trained=True,
        )
    )


def test_without_the_package_it_says_how_to_get_it(pair, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"e2llm\[lingua\]"):
        LongLlmLingua(pair)


def test_the_scorer_goes_on_from_tuples_as_the_decoder_reads_at_once(pair):
    ids, scorer = torch.arange(3, 43)[None], _Scorer(pair)
    mask = torch.ones_like(ids)
    first = scorer(ids[:, :25], attention_mask=mask[:, :25], past_key_values=None, use_cache=True)
    cropped = [[keys[:, :, :20], values[:, :, :20]] for keys, values in first.past_key_values]
    second = scorer(ids[:, 20:], attention_mask=mask, past_key_values=cropped, use_cache=True)
    with torch.inference_mode():
        whole = pair.model.decoder(input_ids=ids).logits
    assert first.past_key_values[0][0].shape[2] == 25
    assert torch.allclose(first.logits, whole[:, :25], atol=1e-4)
    assert torch.allclose(second.logits, whole[:, 20:], atol=1e-4)


@needs_package
def test_a_chunk_is_ranked_by_how_likely_it_makes_the_question(pair):
    method = make_method("longllmlingua", pair)
    chunk, question = method.keep(TEXT)[0][0], " Who?"
    ids = pair.processor.tokenizer(chunk + question).input_ids
    n_chunk = len(pair.processor.tokenizer(chunk).input_ids)
    with torch.inference_mode():
        logits = pair.model.decoder(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    expected = -sum(logits[place - 1, ids[place]].item() for place in range(n_chunk, len(ids))) / (
        len(ids) - n_chunk
    )
    assert method._compressor.get_condition_ppl(chunk, question, "after").item() == pytest.approx(
        expected, abs=1e-4
    )


@needs_package
@pytest.mark.parametrize("ratio", [3, 6])
def test_what_is_left_is_of_the_text_and_about_the_budget(pair, ratio):
    method = make_method(f"longllmlingua:ratio={ratio}:expand=0", pair)
    chunks, allowed = method.keep(LONG)
    left = method._compressed(chunks, QUESTION, allowed)
    tokenizer = pair.processor.tokenizer
    # The package's slack, and tokens that it cuts apart.
    assert 0.5 * allowed < len(tokenizer(left).input_ids) < allowed + 110
    ranked = iter("\n\n".join(chunks[index] for index in method._compressor.context_idxs[-1]))
    assert all(character in ranked for character in left), (
        "its characters are those of the chunks, best first, some left out"
    )
    assert left in tokenizer.decode(method.prompt((chunks, allowed), QUESTION, 4).ids)


@needs_package
def test_a_text_within_the_budget_is_read_whole(pair):
    method = make_method("longllmlingua:ratio=1:expand=0", pair)
    ids = method.prompt(method.keep(TEXT), QUESTION, 4).ids
    text = " ".join(pair.processor.tokenizer.decode(ids).split())
    assert all(" ".join(chunk.split()) in text for chunk in method.keep(TEXT)[0])


@needs_package
def test_scoring_is_part_of_the_answers_cost(pair):
    method = make_method("longllmlingua:ratio=4:expand=0", pair)
    result = method.answer(method.read(LONG), QUESTION, 4)
    assert (
        result.flops
        > method._scorer.flops
        > 2 * linear_weights(pair.model.decoder) * len(pair.processor.text_ids(LONG))
    )
    assert method.answer(method.read(LONG), QUESTION, 4).flops == result.flops, (
        "of this question alone"
    )
    assert "time" in Machine(flops_per_s=1e9, limit_s=10).refusal(method, 10**6, 4)
