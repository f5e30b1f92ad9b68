"""The processes of a run: which is the first, how they meet again."""

import os

import torch

from e2llm.model import devices


def is_main_process() -> bool:
    """Tell whether this is the first of the processes that torchrun or accelerate started.

    A process that is alone is the first.
    """
    return int(os.environ.get("RANK", "0")) == 0


def started_again() -> bool:
    """Tell whether torchrun has started this process again after a failure."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def meet_again() -> None:
    """Join the process group of processes that torchrun has started again.

    torch would do so by itself, but torchrun's store still holds the addresses of the processes
    before, at which nobody answers any more.
    """
    if (
        torch.distributed.is_initialized()
        or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    ):
        return
    n_processes = int(os.environ["WORLD_SIZE"])
    store = torch.distributed.TCPStore(
        os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), n_processes, is_master=False
    )
    # Under a prefix of this start, nothing of the one before is found.
    own = torch.distributed.PrefixStore(f"start {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
    backend = "cuda:nccl,cpu:gloo" if devices.default_device() == "cuda" else "gloo"
    torch.distributed.init_process_group(
        backend, store=own, rank=int(os.environ["RANK"]), world_size=n_processes
    )
