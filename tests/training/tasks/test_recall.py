"""Recall: keys put into a text."""

import pytest

from tests.training.tasks.samples import TEXT, make


@pytest.mark.parametrize("ratio", [1, 4, 16, "chunk"])
def test_what_is_to_be_recalled_stands_in_the_text_and_where_soft_tokens_are_few_in_an_expanded_chunk(  # noqa: E501
    pair, ratio, monkeypatch
):
    asked = []
    expanded = set()
    assert (
        max(
            len(
                make(
                    "recall", TEXT, pair, seed, ratio=ratio, n_chunks=4, max_positions=900
                ).prompt_ids
            )
            for seed in range(20)
        )
        <= 900
    )
    monkeypatch.setattr(
        "e2llm.training.tasks.recall.ask", lambda *arguments: asked.append(arguments)
    )
    for seed in range(30):
        make("recall", TEXT, pair, seed, ratio=ratio, n_chunks=4)
        _, text, spans, chosen, questions, _, _ = asked.pop()
        expanded.add(bool(chosen))
        shown = "".join(text[start:end] for start, end in (spans[index] for index in chosen))
        for question, key in questions:
            assert text.count(key) >= 1
            assert key not in question
            assert not chosen or key in shown
    assert expanded == ({True} if ratio in (16, "chunk") else {True, False})
