"""Plans by budget and FlexRAG: what stands in the prompt at equal positions."""

import pytest

from e2llm.methods import make_method
from tests.tiny import TEXT

QUESTION = "Who approved the budget?"
MIXED = "planned:text=0.4:fine=0.3"


@pytest.mark.parametrize("name", ["top-text", MIXED, "uniform", "flexrag"])
def test_the_prompt_keeps_to_its_budget_and_uses_most_of_it(trained_pair, name):
    method = make_method(f"{name}:budget=300", trained_pair)
    kept = method.keep(TEXT * 6)
    prompt = method.prompt(kept, QUESTION, 4)
    assert 150 < len(prompt.ids) <= 300
    n_soft = 0 if prompt.soft_tokens is None else len(prompt.soft_tokens)
    assert (n_soft > 0) == (name != "top-text")
    assert bool(prompt.expanded) == (name in ("top-text", MIXED))


def test_flexrag_reads_the_best_sentences_at_ratio_one_and_the_others_as_one_soft_token(
    trained_pair,
):
    method = make_method("flexrag:budget=300", trained_pair)
    kept = method.keep(TEXT * 2)
    assert (kept.n_soft_per_chunk == 1).all()
    n_soft = len(method.prompt(kept, QUESTION, 4).soft_tokens)
    assert n_soft > kept.n_chunks
