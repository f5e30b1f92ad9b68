"""Lookup: questions that a text answers about itself."""

import re

from e2llm.training.data.records import TextRecord
from tests.training.tasks.samples import TEXT, make


def test_what_is_looked_up_stands_in_the_text_beside_the_words_that_are_given(pair, monkeypatch):
    asked, kinds = [], set()
    monkeypatch.setattr(
        "e2llm.training.tasks.lookup.ask", lambda *arguments: asked.append(arguments)
    )
    for seed in range(60):
        make("lookup", TEXT, pair, seed, n_chunks=4)
        if not asked:  # none of the drawn words stands there once
            continue
        _, text, _, _, questions, _, _ = asked.pop()
        line = " ".join(text.split())
        assert 1 <= len(questions) <= 6
        for question, answer in questions:
            cue = re.search("“(.*?)( ____ .*?)?”", question).group(1)
            assert answer in line
            assert text.count(cue) == 1 or cue not in text  # where it spans lines
            if "____" in question:
                kinds.add("gap")
                assert f"{cue} {answer} {re.search('____ (.*)”', question).group(1)}" in line
            elif "entence" in question or "say" in question:
                kinds.add("sentence")
                assert cue in answer
            else:
                kinds.add("after")
                assert f"{cue} {answer}" in line
    assert kinds == {"gap", "sentence", "after"}


def test_a_text_too_short_to_look_anything_up_gives_no_sample(pair):
    assert make("lookup", TextRecord("t", "Ann keeps the river.", "town"), pair) is None
