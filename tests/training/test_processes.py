"""Several processes, on gloo.

Covered: DDP through `train` with the environment that torchrun sets (equal to one process that
accumulates; validations of uneven length; a batch without chunks in one process alone; one Ctrl-C
that stops both at the same step), and torchrun itself with a worker that is killed and restarted.
Nothing waits longer than its timeout.
"""

import gc
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

import e2llm
from e2llm.training.checkpoints import TRAINED_FILE
from e2llm.training.log import read_log
from e2llm.training.mixture import Batch
from e2llm.training.output import PAIR_FOLDER
from e2llm.training.recipe import Recipe, build
from e2llm.training.stages import train
from e2llm.training.tasks import Sample
from tests.training import writing
from tests.training.processes import TIMEOUT_S, batch_of, free_port, objective_of, together


def _train(data, resume=False, stop_at=None):
    lines = []
    rank = int(os.environ.get("RANK", "0"))

    def say(line):
        lines.append(line)
        if stop_at is not None and line.startswith(stop_at):
            os.kill(os.getpid(), signal.SIGINT)

    try:
        train(build(Recipe, data, "recipe"), resume, say)
    except KeyboardInterrupt:
        lines.append("interrupted")
    return rank, lines


def trained(recipe):
    return load_file(Path(recipe["output"]) / "1-read" / TRAINED_FILE)


def test_two_processes_learn_what_one_learns_that_accumulates_two_batches(make_fields):
    # Validations of 5 batches: one process has more of them than the other.
    fields = {"validation_samples": 5, "keep_embedding": 0.1}
    one = make_fields(
        "one", writing.stage(steps=4, accumulation=2, evaluate_every=2, batch_size=4), **fields
    )
    two = make_fields("two", writing.stage(steps=4, evaluate_every=2, batch_size=4), **fields)
    _train(one)
    (_, said), (_, unsaid) = together(_train, two)
    assert any(line.startswith("read 4/4") for line in said)
    assert unsaid == []
    for name, tensor in trained(one).items():
        torch.testing.assert_close(trained(two)[name], tensor, atol=2e-5, rtol=1e-3, msg=name)
    logs = [
        [
            line
            for line in read_log(Path(recipe["output"]) / "1-read" / "log.jsonl")
            if "@" in "".join(line)
        ]
        for recipe in (one, two)
    ]
    for own, other in zip(*logs, strict=True):
        shared = [
            key
            for key in own
            if "@" in key or key in ("loss", "grad_norm", "learning_rate", "eval_decisive")
        ]
        assert shared
        for key in shared:
            assert other[key] == pytest.approx(own[key], rel=1e-3), key
    assert (Path(two["output"]) / PAIR_FOLDER / "config.json").exists()


def test_one_interrupt_stops_both_processes_at_the_same_step_and_resuming_equals_going_through(
    make_fields,
):
    stage = writing.stage(steps=5, evaluate_every=5)
    whole, halves = make_fields("whole", stage), make_fields("halves", stage)
    together(_train, whole)
    (_, said), (_, unsaid) = together(_train, halves, False, "read 2")
    assert said[-1] == "interrupted"
    assert unsaid == ["interrupted"]
    assert [path.name for path in (Path(halves["output"]) / "1-read").glob("checkpoint-*")] == [
        "checkpoint-3"
    ]
    together(_train, halves, True)
    for name, tensor in trained(whole).items():
        assert torch.equal(trained(halves)[name], tensor), name


def _step_without_chunks(data):
    from torch.nn.parallel import DistributedDataParallel

    rank = int(os.environ["RANK"])
    torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
    made = objective_of(data)
    batch = (
        batch_of(made)
        if rank == 0
        else Batch("understanding", 2, [Sample("none", prompt_ids=[5, 6, 7], answer_ids=[8, 9])])
    )
    wrapped = DistributedDataParallel(made[0], find_unused_parameters=True)
    for _ in range(2):
        wrapped.zero_grad()
        wrapped(**made[1]([batch]))["loss"].backward()
    gradients = {name: p.grad.numpy() for name, p in made[0].named_parameters() if p.requires_grad}
    # DDP goes before its group: the last one to hold the group destroys it, and DDP would do so
    # with the GIL that a thread of gloo's waits for.
    del wrapped
    gc.collect()
    torch.distributed.destroy_process_group()
    return gradients


def test_a_batch_without_chunks_in_one_process_neither_hangs_nor_changes_the_others_gradients(
    make_fields,
):
    data = make_fields("run")
    first, second = together(_step_without_chunks, data)
    made = objective_of(data)
    made[0](**made[1]([batch_of(made)]))["loss"].backward()
    for name, parameter in made[0].named_parameters():
        if parameter.requires_grad:
            assert np.array_equal(first[name], second[name]), name
            if ".adapter." in name or ".encoder." in name:
                np.testing.assert_allclose(
                    first[name], parameter.grad / 2, atol=1e-7, rtol=1e-4, err_msg=name
                )


def test_after_a_killed_worker_torchrun_goes_on_from_the_last_checkpoint(make_fields, tmp_path):
    data = make_fields("run", writing.stage(steps=40, evaluate_every=5))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(data))
    launch = [
        "--nproc-per-node",
        "2",
        "--max-restarts",
        "1",
        "--master-port",
        str(free_port()),
        "-m",
        "e2llm",
        "train",
        "recipe.yaml",
    ]
    environ = {
        **os.environ,
        "PYTHONPATH": str(Path(e2llm.__file__).parents[1]),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    with open(tmp_path / "said", "wb") as said:
        agent = subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *launch],
            cwd=tmp_path,
            env=environ,
            stdout=said,
            stderr=said,
        )
    try:
        folder, deadline = Path(data["output"]) / "1-read", time.monotonic() + TIMEOUT_S
        while not list(folder.glob("checkpoint-*/complete")):
            assert agent.poll() is None, (tmp_path / "said").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
        workers = [
            int(pid) for pid in children if b"e2llm" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        os.kill(workers[0], signal.SIGKILL)
        assert agent.wait(TIMEOUT_S) == 0, (tmp_path / "said").read_text()
    finally:
        agent.terminate()
    text = (tmp_path / "said").read_text()
    assert text.count("Training ") == 2
    assert text.count("read 1/40") == 1  # it did not begin again
    assert text.count("Trained: ") == 1
    assert (Path(data["output"]) / PAIR_FOLDER / "config.json").exists()
    assert [line["step"] for line in read_log(folder / "log.jsonl") if "loss" in line] == list(
        range(1, 41)
    )
