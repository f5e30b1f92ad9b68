"""Several processes, on gloo.

Covered: DDP through `train` with the environment that torchrun sets (equal to one process that
accumulates; validations of uneven length; a batch without chunks in one process alone; one Ctrl-C
that stops both at the same step), torchrun itself with a worker that is killed and restarted, and
raw FSDP2 (`fully_shard`) against the whole model. Not covered, for want of an accelerator: FSDP and
DeepSpeed through transformers' Trainer (accelerate shards on accelerators alone) and NCCL. Nothing
waits longer than its timeout.
"""

import copy
import gc
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

import e2llm
from e2llm.training.collator import Collator
from e2llm.training.curves import read_log
from e2llm.training.mixture import Batch, Mixture
from e2llm.training.objective import Objective
from e2llm.training.recipe import Recipe, build
from e2llm.training.stages import PAIR_FOLDER, choose_trained, load, save, train, unshard
from e2llm.training.tasks import Sample
from e2llm.training.trainer import TRAINED_FILE
from tests.cli.running import PRELOADED, PROCESSES
from tests.training import writing

TIMEOUT_S = 240
PROCESSES.set_forkserver_preload([*PRELOADED, "e2llm.training.stages"])


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def together(target, *arguments, n=2):
    """Run a function in `n` processes with the environment that torchrun sets; return what each
    returned.
    """
    port, queue = free_port(), PROCESSES.Queue()
    processes = [
        PROCESSES.Process(target=_run, args=(queue, rank, n, port, target, arguments))
        for rank in range(n)
    ]
    for process in processes:
        process.start()
    results = {}
    try:
        for _ in processes:
            rank, result, error = queue.get(timeout=TIMEOUT_S)
            assert error is None, error
            results[rank] = result
    finally:
        for process in processes:
            process.join(10)
            process.kill()
    return [results[rank] for rank in range(n)]


def _run(queue, rank, n, port, target, arguments):
    os.environ.update(
        {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(n),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
    )
    torch.set_num_threads(1)
    try:
        queue.put((rank, target(*arguments), None))
    except BaseException:
        queue.put((rank, None, traceback.format_exc()))


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


@pytest.fixture
def make(bases, data, tmp_path):
    return lambda output, *stages, **changes: writing.recipe(
        bases, data, tmp_path / output, *stages, **changes
    )


def trained(recipe):
    return load_file(Path(recipe["output"]) / "1-read" / TRAINED_FILE)


# DDP


def test_two_processes_learn_what_one_learns_that_accumulates_two_batches(make):
    # Validations of 5 batches: one process has more of them than the other.
    fields = {"validation_samples": 5, "keep_embedding": 0.1}
    one = make(
        "one", writing.stage(steps=4, accumulation=2, evaluate_every=2, batch_size=4), **fields
    )
    two = make("two", writing.stage(steps=4, evaluate_every=2, batch_size=4), **fields)
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
    make,
):
    stage = writing.stage(steps=5, evaluate_every=5)
    whole, halves = make("whole", stage), make("halves", stage)
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
    made = _objective(data)
    batch = (
        _batch(made)
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


def _objective(data):
    recipe = build(Recipe, data, "recipe")
    torch.manual_seed(0)
    model, processor = load(recipe)
    objective = Objective(model, recipe).train()
    choose_trained(objective, recipe, recipe.stages[0])
    with torch.no_grad():
        for name, parameter in objective.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    return objective, Collator(processor), processor, recipe


def _batch(made, index=0):
    from e2llm.training.data.sources import open_source

    _, _, processor, recipe = made
    return Mixture(
        recipe.stages[0], [open_source(settings) for settings in recipe.sources], processor, 4, 0
    )[index]


def test_a_batch_without_chunks_in_one_process_neither_hangs_nor_changes_the_others_gradients(make):
    data = make("run")
    first, second = together(_step_without_chunks, data)
    made = _objective(data)
    made[0](**made[1]([_batch(made)]))["loss"].backward()
    for name, parameter in made[0].named_parameters():
        if parameter.requires_grad:
            assert np.array_equal(first[name], second[name]), name
            if ".adapter." in name or ".encoder." in name:
                np.testing.assert_allclose(
                    first[name], parameter.grad / 2, atol=1e-7, rtol=1e-4, err_msg=name
                )


# FSDP2


def _step_sharded(data):
    from torch.distributed.fsdp import fully_shard

    rank = int(os.environ["RANK"])
    torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
    made = _objective(data)
    objective, collator = made[:2]
    base = objective.base
    for layer in [*base.encoder.encoder.layer, *base.decoder.model.layers]:
        fully_shard(layer)
    fully_shard(objective)
    loss = objective(**collator([_batch(made, rank)]))["loss"]
    loss.backward()
    gradients = {
        name: p.grad.full_tensor().numpy()
        for name, p in objective.named_parameters()
        if p.requires_grad
    }
    torch.distributed.destroy_process_group()
    return float(loss.detach()), gradients


def test_a_model_that_fsdp2_shards_has_the_loss_and_the_gradients_of_the_whole_one(make):
    data = make("run")
    sharded = together(_step_sharded, data)
    made = _objective(data)
    objective, collator = made[:2]
    for rank, (loss, _) in enumerate(sharded):
        own = objective(**collator([_batch(made, rank)]))["loss"]
        assert loss == pytest.approx(float(own.detach()), rel=1e-5)
        (own / 2).backward()
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad:
            np.testing.assert_allclose(
                sharded[0][1][name], parameter.grad, atol=1e-6, rtol=1e-4, err_msg=name
            )


def _save_sharded(data, folder):
    from torch.distributed.fsdp import fully_shard

    torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
    objective, _, processor, recipe = _objective(data)
    main = os.environ["RANK"] == "0"
    if main:
        save(copy.deepcopy(objective), processor, recipe, folder / "whole")
    base = objective.base
    for layer in [*base.encoder.encoder.layer, *base.decoder.model.layers]:
        fully_shard(layer)
    fully_shard(objective)
    unshard(objective, main)
    if main:
        save(objective, processor, recipe, folder / "sharded")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_a_model_that_fsdp2_shards_is_saved_as_the_whole_one_is(make, tmp_path, mode):
    together(_save_sharded, make("run", decoder={"mode": mode}), tmp_path)
    files = {
        name: sorted(path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*.*"))
        for name in ("whole", "sharded")
    }
    assert files["whole"] == files["sharded"]
    for file in files["whole"]:
        whole, sharded = (tmp_path / name / file for name in ("whole", "sharded"))
        if file.suffix == ".safetensors":
            own, other = load_file(whole), load_file(sharded)
            assert own.keys() == other.keys()
            assert all(torch.equal(tensor, other[name]) for name, tensor in own.items())


# torchrun


def test_after_a_killed_worker_torchrun_goes_on_from_the_last_checkpoint(make, tmp_path):
    data = make("run", writing.stage(steps=40, evaluate_every=5))
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
