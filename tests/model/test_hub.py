"""Pairs by hub name: pushed to a hub and loaded from it, over the hub's own protocol, on this
machine.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import hub, tiny

PUSH = """
from e2llm import E2LLM
pair = E2LLM.pair("us/encoder", "us/decoder", adapter="vpma", dtype="float32", device="cpu")
pair.model.push_to_hub("us/pair")
pair.processor.push_to_hub("us/pair")
print(pair.fingerprint)
"""
LOAD = """
import e2llm.model
from transformers import AutoModelForCausalLM, AutoProcessor
from e2llm import E2LLM
pair = E2LLM.from_pretrained("us/pair", dtype="float32", device="cpu")
document = pair.compress("The council met at noon. Everyone spoke.")
assert pair.ask("Who spoke?", document, max_new_tokens=4).usage.n_answer_tokens > 0
model = AutoModelForCausalLM.from_pretrained("us/pair")
processor = AutoProcessor.from_pretrained("us/pair")
assert type(model).__name__ == "E2LLMForCausalLM" and type(processor).__name__ == "E2LLMProcessor"
from e2llm.cli import models, show
assert [row["name"] for row in models._fetched_pairs()] == ["us/pair"]
assert show._facts("us/pair", None, False)["adapter"] == "vpma"
print(pair.fingerprint)
"""


def run(code: str, address: str, home: Path) -> str:
    """Run `code` in a new process that knows this hub alone."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": address,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(home),
        "E2LLM_HOME": str(home),
        "HF_TOKEN": "hf_ours",
        "NO_PROXY": "127.0.0.1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split()[-1]


@pytest.mark.slow
def test_a_pair_is_made_from_hub_names_pushed_and_loaded_by_its_own_hub_name(tmp_path):
    tiny.make_encoder(tmp_path / "hub/us/encoder")
    tiny.make_decoder(tmp_path / "hub/us/decoder")
    with hub.serve(tmp_path / "hub") as address:
        pushed = run(PUSH, address, tmp_path / "one")
        files = {path.name for path in (tmp_path / "hub/us/pair").iterdir()}
        loaded = run(LOAD, address, tmp_path / "another")
    assert {
        "config.json",
        "model.safetensors",
        "processor_config.json",
        "tokenizer.json",
        "encoder_tokenizer",
    } <= files
    assert (tmp_path / "hub/us/pair/model.safetensors").stat().st_size < 100_000
    assert pushed == loaded
