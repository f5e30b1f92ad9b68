"""Ctrl-C and requests to end: a checkpoint, then a stop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import TrainerCallback, TrainingArguments


class Interruption(TrainerCallback):
    """Once wanted, save a checkpoint at the end of the step and stop.

    Attributes:
        wanted: Whether this process was asked to stop.
        acted: Whether it did, in the middle of a stage.
    """

    def __init__(self) -> None:
        self.wanted = self.acted = False

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop after a checkpoint; several processes stop at the same step, whoever was asked."""
        wanted = self.wanted
        # A process that stopped alone would leave the others waiting for it in the next step.
        if args.world_size > 1:
            flag = torch.tensor(float(wanted), device=args.device)  # ()
            torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
            wanted = bool(flag)
        self.wanted |= wanted
        # After its last step a stage ends by itself, with a checkpoint.
        if wanted and state.global_step < state.max_steps:
            self.acted = True
            control.should_save = control.should_training_stop = True


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Turn the first Ctrl-C, or a request to end, into a checkpoint and a stop.

    A Ctrl-C after it stops at once. Where Ctrl-C is ignored, as under `nohup` in the background, it
    stays ignored.
    """
    interruption = Interruption()
    # Python lets the main thread alone set handlers of signals.
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return

    def want(number: int, frame: Any) -> None:
        # torchrun passes a Ctrl-C on as a request to end, which may come after the Ctrl-C itself.
        if interruption.wanted and number == signal.SIGINT:
            raise KeyboardInterrupt
        interruption.wanted = True

    heard = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        heard.append(signal.SIGINT)
    before = {number: signal.signal(number, want) for number in heard}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
