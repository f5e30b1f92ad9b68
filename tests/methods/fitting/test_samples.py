"""What a method is fitted on: texts first, then questions, each within its window."""

from dataclasses import replace

import pytest

from e2llm.errors import UserError
from e2llm.methods import make_method
from e2llm.methods.fitting.samples import Samples
from tests.methods.fitting.running import SETTINGS


def test_texts_come_first_and_every_sample_fits(trained_pair, sources):
    method = make_method("continual:text_share=0.25", trained_pair)
    samples = Samples(method, sources, replace(SETTINGS, steps=8))
    assert ["text" in sample for sample in map(samples.__getitem__, range(len(samples)))] == [
        True
    ] * 4 + [False] * 12
    for index in range(len(samples)):
        sample = samples[index]
        assert sample == Samples(method, sources, replace(SETTINGS, steps=8))[index]
        assert 0 < sample["n_items"] <= sample["n_positions"]
        document = sample.get("text") or sample["document"]
        assert len(trained_pair.processor.text_ids(document)) <= SETTINGS.document_tokens


def test_without_texts_the_documents_of_questions_are_read(trained_pair, sources):
    samples = Samples(make_method("continual:text_share=1", trained_pair), sources[1:], SETTINGS)
    assert all("text" in samples[index] for index in range(len(samples)))


def test_without_what_it_is_trained_on_it_is_refused(trained_pair, sources):
    with pytest.raises(UserError, match="trained on question records"):
        Samples(make_method("continual", trained_pair), sources[:1], SETTINGS)
