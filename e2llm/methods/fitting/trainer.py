"""The trainer of a rival: its loss, and transformers' `Trainer` over a sample at a time.

Checkpoints hold what is trained. A resumed run is the uninterrupted one, bit for bit on a CPU.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PrinterCallback, TrainingArguments

from e2llm.methods.fitting.samples import Samples
from e2llm.methods.fitting.settings import FitSettings
from e2llm.methods.fitting.trainable import (
    WEIGHTS_FILE,
    TrainableMethod,
    load_weights,
    save_weights,
)
from e2llm.training.checkpoints import last_checkpoint
from e2llm.training.log import LOG_FILE, format_seconds
from e2llm.training.trainer import DivergedError, ItemTrainer


class Objective(nn.Module):
    """A method's loss as one module, so that any wrapper sees a single forward pass."""

    # The loss is divided by the tokens of all samples of a step, and not once more by their number.
    accepts_loss_kwargs = True

    def __init__(self, method: TrainableMethod) -> None:
        super().__init__()
        self.method, self.module = method, method.module

    def forward(self, sample: dict[str, Any]) -> Tensor:
        """Return the sum of a sample's nats."""
        if "text" in sample:
            nats = self.method.text_nats(sample["text"]).sum()
        else:
            nats = _answer_nats(self.method, sample).sum()
        if nats.requires_grad:
            return nats
        # What is so short that the method reads it with the bare decoder teaches nothing, which is
        # no error.
        return nats + 0 * next(iter(self.method.trained().values())).sum()


class FitTrainer(ItemTrainer):
    """A trainer over `Samples`: it says how far it is, and its checkpoints hold what is trained."""

    control: Any

    def __init__(
        self,
        method: TrainableMethod,
        args: TrainingArguments,
        samples: Samples,
        validation: list[dict[str, Any]],
        say: Callable[[str], None],
    ) -> None:
        self.method, self.validation, self.say = method, validation, say
        self.start_s, self.first_step, self.n_positions = time.perf_counter(), -1, 0
        super().__init__(
            model=Objective(method),
            args=args,
            train_dataset=samples,
            eval_dataset=validation or None,
            data_collator=_only,
        )
        self.remove_callback(PrinterCallback)

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> Any:
        """Return the samples of a step, and how many tokens they predict in all processes."""
        # The library counts labels, of which these samples have none.
        samples, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        n_items = torch.tensor(sum(sample["n_items"] for sample in samples), device=device)
        return samples, self.accelerator.reduce(n_items, "sum")

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Tensor:
        """Return a sample's part of the step's mean over tokens.

        Raises:
            DivergedError: It is not a number; the weights have not been touched by it.
        """
        # The clock starts at the first step, once all is loaded.
        if self.first_step < 0:
            self.start_s, self.first_step = time.perf_counter(), self.state.global_step
        # Gradients are averaged over the processes, and the mean is over the tokens of them all.
        loss = model(inputs) / num_items_in_batch * self.accelerator.num_processes
        if not torch.isfinite(loss):
            raise DivergedError(
                f"the loss is {float(loss.detach())} at step {self.state.global_step + 1} "
                f"({inputs['name']}); the last good checkpoint is "
                f"{last_checkpoint(self.args.output_dir) or 'none yet'}: lower the learning "
                "rate, or look at this record."
            )
        self.n_positions += inputs["n_positions"]
        return loss

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Return the nats per token of the answers to the validation's questions.

        They are read as the method reads when it does not train.
        """
        start_s = time.perf_counter()
        self.model.eval()
        sums = torch.zeros(2)  # nats and tokens, of this process's share
        with torch.no_grad(), self.accelerator.autocast():
            for sample in self.validation[self.args.process_index :: self.args.world_size]:
                nats = _answer_nats(self.method, sample)  # (n_answer_tokens,)
                sums += torch.tensor([float(nats.sum()), len(nats)])
        total, n_tokens = self.accelerator.reduce(sums.to(self.args.device), "sum").tolist()
        self.model.train()
        metrics = {"eval_loss": total / max(1, n_tokens)}
        self.log(metrics)
        callbacks = self.callback_handler
        self.control = callbacks.on_evaluate(self.args, self.state, self.control, metrics)
        # Validation does not count against the pace of training.
        self.start_s += time.perf_counter() - start_s
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Write a line of the log and say it."""
        super().log(logs, start_time)
        step, last = self.state.global_step, self.state.max_steps
        seconds = time.perf_counter() - self.start_s
        if "eval_loss" in logs:
            facts, line = {}, f"validation {logs['eval_loss']:.4f}"
        elif "loss" in logs:
            pace = self.n_positions * self.accelerator.num_processes / seconds
            left_s = seconds / max(1, step - self.first_step) * (last - step)
            facts = {"positions_per_s": round(pace, 1)}
            left = format_seconds(left_s)
            line = f"loss {logs['loss']:.4f} | {pace:.0f} positions/s, {left} left"
        else:
            return
        if self.args.should_save:
            with open(Path(str(self.args.output_dir)) / LOG_FILE, "a", encoding="utf-8") as stream:
                stream.write(json.dumps({"step": step, **logs, **facts}) + "\n")
        self.say(f"{step}/{last} {line}")

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Save what is trained, alone."""
        if self.args.should_save:
            folder = Path(output_dir or str(self.args.output_dir))
            folder.mkdir(parents=True, exist_ok=True)
            save_weights(self.method.module, folder / WEIGHTS_FILE)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_weights(self.method.module, Path(resume_from_checkpoint) / WEIGHTS_FILE)

    def _load_best_model(self) -> None:
        if self.state.best_model_checkpoint:
            load_weights(self.method.module, Path(self.state.best_model_checkpoint) / WEIGHTS_FILE)


def _only(samples: list[dict[str, Any]]) -> dict[str, Any]:
    return samples[0]


def _answer_nats(method: TrainableMethod, sample: dict[str, Any]) -> Tensor:
    return method.nats(sample["document"], sample["question"], sample["answer"])


def training_arguments(
    method: TrainableMethod, settings: FitSettings, output: Path, validates: bool
) -> TrainingArguments:
    """Return the library's arguments for settings.

    Args:
        method: What is fitted, for its precision and its device.
        settings: How.
        output: Folder of the checkpoints.
        validates: Whether there are questions to validate on.
    """
    dtype, device = method.pair.base.dtype, method.pair.base.device
    return TrainingArguments(
        output_dir=str(output),
        max_steps=settings.steps,
        # Samples have lengths of their own: a step adds up the gradients of one after the other.
        per_device_train_batch_size=1,
        gradient_accumulation_steps=settings.batch_size,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(settings.warmup * settings.steps),
        max_grad_norm=settings.max_grad_norm,
        weight_decay=0.0,
        bf16=dtype == torch.bfloat16,
        fp16=dtype == torch.float16,
        use_cpu=device.type == "cpu",
        seed=settings.seed,
        logging_steps=settings.log_every,
        logging_first_step=True,
        # `compute_loss` stops at what is no number.
        logging_nan_inf_filter=False,
        eval_strategy="steps" if validates else "no",
        eval_steps=settings.save_every,
        save_strategy="steps",
        save_steps=settings.save_every,
        save_total_limit=2,
        load_best_model_at_end=validates,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=True,
    )
