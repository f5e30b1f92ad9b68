"""Costs by formula against the library's counter."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from e2llm.chunking.chunker import make_spans
from e2llm.evaluation import costs
from e2llm.methods.bounds.full_text import FullText
from e2llm.model import operations
from tests.tiny import TEXT


def counted(run) -> int:
    """Count the operations of a call.

    Of the CPU's fused attention the counter knows nothing, so the plain one runs.
    """
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), counter:
        run()
    return counter.get_total_flops()


@pytest.mark.parametrize("decoder", ["llama", "qwen3", "gpt2", "gpt-neox", "phi", "gemma3"])
def test_a_prompts_operations_are_those_that_the_library_counts(make_pair, decoder):
    model = make_pair(decoder=decoder).model.decoder
    ids = torch.arange(3, 50)[None]
    assert operations.decoder_flops(model, 47) == counted(
        lambda: model(input_ids=ids, logits_to_keep=1)
    )


def test_writing_costs_as_much_as_its_steps_one_by_one(pair):
    decoder = pair.model.decoder
    steps = sum(operations.decoder_flops(decoder, 1, 20 + step) for step in range(5))
    assert operations.writing_flops(decoder, 20, 6) == steps
    assert operations.writing_flops(decoder, 20, 1) == operations.writing_flops(decoder, 20, 0) == 0


def test_the_encoders_operations_are_those_that_the_library_counts(pair):
    def run() -> None:
        for row in pair.processor.encoder_rows(TEXT, make_spans(TEXT, pair.chunker)):
            pair.model.encode(
                torch.tensor([row.input_ids]), torch.ones(1, len(row.input_ids), dtype=torch.long)
            )

    assert FullText(pair).encoding_flops(TEXT) == counted(run)


def test_the_peak_sees_memory_that_is_free_again():
    with costs.peak_memory() as before:
        pass
    with costs.peak_memory() as after:
        torch.ones(64 * 2**20).sum()
    if before:  # a system that can tell
        assert 0.9 * 2**28 < after[0] - before[0] < 1.5 * 2**28


def test_a_machine_is_measured(pair):
    machine = costs.Machine.measure(pair, limit_s=5)
    assert machine.limit_s == 5
    assert 0 < machine.flops_per_s < 1e15
    assert machine.free_bytes > 0
