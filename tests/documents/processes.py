"""Real processes for tests of what several do at once, or of what one does under limits."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.process import BaseProcess

# A server that has imported torch forks each process: real processes, without 1.5 s for each.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.documents.samples"])


def start(function: Callable[..., None], *arguments: object) -> BaseProcess:
    process = PROCESSES.Process(target=function, args=arguments)
    process.start()
    return process


def finish(*processes: BaseProcess) -> None:
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * len(processes)
