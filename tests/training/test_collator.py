"""Tensors of a batch: labels, padding."""

import numpy as np
import pytest
import torch


@pytest.mark.parametrize("task", ["expanding", "recall"])
def test_labels_cover_the_answers_and_nothing_else(make_objective, batch_of, task):
    made = make_objective(stage={"max_answer_tokens": 200})
    batch = batch_of(made, task)
    inputs = made.collator([batch])
    for row, sample in enumerate(batch.samples):
        ids, labels = [], []
        for prompt, answer in [(sample.prompt_ids, sample.answer_ids), *sample.turns]:
            ids += prompt + answer
            labels += [-100] * len(prompt) + answer
        assert inputs["input_ids"][row, : len(ids)].tolist() == ids
        assert inputs["labels"][row].tolist() == labels + [-100] * (
            inputs["labels"].shape[1] - len(labels)
        )
    assert task != "recall" or any(sample.turns for sample in batch.samples)


def test_the_collator_pads_at_the_end_and_what_pads_is_not_looked_at(make_objective, batch_of):
    made = make_objective()
    batch = batch_of(made, "understanding")
    inputs = made.collator([batch])
    longest = max(sample.n_positions for sample in batch.samples)
    assert inputs["input_ids"].shape == (len(batch.samples), longest)
    assert inputs["n_positions"] == sum(sample.n_positions for sample in batch.samples)
    with torch.no_grad():
        loss = made.objective.eval()(**inputs)["loss"]
        for row, sample in enumerate(batch.samples):
            inputs["input_ids"][row, sample.n_positions :] = 77
        inputs["chunk_input_ids"][inputs["chunk_attention_mask"] == 0] = 9
        torch.testing.assert_close(made.objective(**inputs)["loss"], loss)
    assert np.isfinite(float(loss))
