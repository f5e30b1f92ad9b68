"""Several processes on gloo, with the environment that torchrun sets."""

import os
import signal
import socket
import traceback

import torch

from e2llm.training.collator import Collator
from e2llm.training.data.sources import open_source
from e2llm.training.mixture import Mixture
from e2llm.training.objective import Objective
from e2llm.training.pair_to_train import load
from e2llm.training.parameters import choose_trained
from e2llm.training.recipe import Recipe, build
from tests.cli.running import PRELOADED, PROCESSES

TIMEOUT_S = 240
PROCESSES.set_forkserver_preload([*PRELOADED, "e2llm.training.stages"])


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def together(target, *arguments, n=2):
    """Run a function in `n` processes as torchrun does; return what each returned."""
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
    # Where the tests run in the background, it starts out ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        queue.put((rank, target(*arguments), None))
    except BaseException:
        queue.put((rank, None, traceback.format_exc()))


def objective_of(data):
    """Make an objective whose LoRA acts, its collator, its processor and its recipe."""
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


def batch_of(made, index=0):
    """Make a batch of such an objective's first stage."""
    _, _, processor, recipe = made
    return Mixture(
        recipe.stages[0], [open_source(settings) for settings in recipe.sources], processor, 4, 0
    )[index]
