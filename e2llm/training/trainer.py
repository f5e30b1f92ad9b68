"""transformers' `Trainer` over our batches: losses per task and ratio, learning rates per part,
checkpoints that hold what is trained.
"""

import json
import math
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import speed_metrics

from e2llm.errors import E2LLMError
from e2llm.training.collator import Collator
from e2llm.training.mixture import Mixture
from e2llm.training.objective import Objective
from e2llm.training.recipe import PARTS, Stage

TRAINED_FILE = "trained.safetensors"
COMPLETE_FILE = "complete"
LOG_FILE = "log.jsonl"
# The tasks whose validation loss alone decides the best checkpoint, where the stage has them (paper
# section 4.1).
REASONING = ("reasoning", "expanding", "dialogue", "recall", "distillation", "self-distillation")


class DivergedError(E2LLMError):
    """The loss is no longer a number."""


class ItemTrainer(Trainer):
    """transformers' `Trainer` over a data set whose items are batches already, with checkpoints
    that are whole or none.
    """

    def get_train_dataloader(self) -> DataLoader:
        """Return the items in their order; accelerate deals them to the processes."""
        options = {
            "num_workers": self.args.dataloader_num_workers,
            "pin_memory": self.args.dataloader_pin_memory,
            "prefetch_factor": self.args.dataloader_prefetch_factor,
        }
        assert self.train_dataset is not None
        return self.accelerator.prepare(
            DataLoader(
                self.train_dataset,
                batch_size=1,
                shuffle=False,
                collate_fn=self.data_collator,
                **options,
            )
        )

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Save a checkpoint; a mark in it, written last, says that it is whole."""
        folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
        with writing(folder):
            super()._save_checkpoint(model, trial)
            # each process has a file of its own there: the state of its random numbers
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                mark_complete(folder)


class StageTrainer(ItemTrainer):
    """Train one stage.

    Args:
        objective: The pair with its losses.
        stage: What is trained, how.
        args: transformers' arguments, from `stages.training_arguments`.
        mixture, validation: Batches to train on, and to validate on.
        collator: Makes tensors of batches.
        trained: Names of all the parameters that any stage trains: what checkpoints hold.
    """

    control: Any
    optimizer: Any

    def __init__(
        self,
        objective: Objective,
        stage: Stage,
        args: TrainingArguments,
        mixture: Mixture,
        validation: Mixture,
        collator: Collator,
        trained: list[str],
        callbacks: list[TrainerCallback],
    ) -> None:
        self.stage, self.mixture, self.validation, self.trained = (
            stage,
            mixture,
            validation,
            trained,
        )
        self._sums: dict[str, Tensor] = {}
        self._keys = list(
            dict.fromkeys(f"{task}@{ratio}" for task in stage.tasks for ratio in stage.ratios)
        )
        self._n_positions, self._since_s = 0, time.perf_counter()
        self._read: list[str] = []  # what the step that runs has read
        super().__init__(
            model=objective,
            args=args,
            train_dataset=mixture,
            eval_dataset=validation,
            data_collator=collator,
            callbacks=callbacks,
        )
        self.remove_callback(PrinterCallback)  # `Lines` says it

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the batch's loss; stop where it is not a number, before the weights are touched."""
        outputs = model(**inputs)
        loss = outputs["loss"]
        shown = ", ".join(inputs["names"][:4]) + (" ..." if len(inputs["names"]) > 4 else "")
        self._read.append(f"task {inputs['task']}, ratio {inputs['ratio']}, samples {shown}")
        if not torch.isfinite(loss):
            raise self._diverged("loss", float(loss.detach()), self._read[-1])
        if model.training:
            self._count(self._sums, inputs, outputs)
            self._n_positions += inputs["n_positions"]
        return (loss, outputs) if return_outputs else loss

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """Stop where a gradient is not a number, before the weights are touched; float16's scaler
        passes such steps over by itself.
        """
        grad_norm = super()._get_grad_norm(model, grad_norm)
        if self.accelerator.scaler is None and not math.isfinite(grad_norm):
            raise self._diverged("gradient's norm", float(grad_norm), "; ".join(self._read))
        self._read = []
        return grad_norm

    def _diverged(self, what: str, value: float, read: str) -> "DivergedError":
        last = last_checkpoint(self.args.output_dir)
        return DivergedError(
            f"the {what} is {value} at step {self.state.global_step + 1} ({read}); the last "
            f"good checkpoint is {last or 'none yet'}: lower the learning rates or look at "
            "these samples, then --resume."
        )

    def _count(
        self, sums: dict[str, Tensor], inputs: dict[str, Any], outputs: dict[str, Tensor]
    ) -> None:
        key = f"{inputs['task']}@{inputs['ratio']}"
        add = torch.stack([outputs["total"].float(), outputs["n_items"].float()])
        sums[key] = sums[key] + add if key in sums else add

    def _means(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """Average over the items of all processes: per task, and per task and ratio."""
        precision = (
            torch.float32 if self.args.device.type == "mps" else torch.float64
        )  # which MPS does not know
        table = torch.stack([sums.get(key, torch.zeros(2)).cpu() for key in self._keys]).to(
            self.args.device, precision
        )
        table = self.accelerator.reduce(table, "sum").cpu().double()
        per_task: dict[str, Tensor] = defaultdict(lambda: torch.zeros(2, dtype=torch.float64))
        means = {}
        for key, row in zip(self._keys, table, strict=True):
            per_task[key.split("@")[0]] += row
            if row[1] > 0:
                means[key] = float(row[0] / row[1])
        return {
            task: float(row[0] / row[1]) for task, row in per_task.items() if row[1] > 0
        } | means

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add to the library's line the loss per task and ratio, positions per second and the time
        left.
        """
        if "loss" in logs:
            seconds = time.perf_counter() - self._since_s
            rate = (
                self.accelerator.reduce(
                    torch.tensor(float(self._n_positions), device=self.args.device), "sum"
                ).item()
                / seconds
            )
            logs |= {**self._means(self._sums), "positions_per_s": round(rate, 1)}
            self._sums, self._n_positions, self._since_s = {}, 0, time.perf_counter()
        super().log(logs, start_time)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Return the validation loss per task and ratio, and `eval_decisive`, which the best
        checkpoint is chosen by.
        """
        start_s = time.perf_counter()
        model = self.model_wrapped
        model.eval()
        sums: dict[str, Tensor] = {}
        # Processes take turns. Each runs the model as often as the others, since all must meet
        # where the model is sharded; what is one too many does not count.
        turns = range(
            self.args.process_index,
            -(-len(self.validation) // self.args.world_size) * self.args.world_size,
            self.args.world_size,
        )
        with torch.no_grad(), self.accelerator.autocast():
            for index in turns:
                inputs = self._prepare_inputs(
                    self.data_collator([self.validation[index % len(self.validation)]])
                )
                outputs = model(**inputs)
                if index < len(self.validation):
                    self._count(sums, inputs, outputs)
        model.train()
        means = self._means(sums)
        decisive = [
            means[task] for task in self.stage.tasks if task in means and task in REASONING
        ] or [means[task] for task in self.stage.tasks if task in means]
        metrics = {f"eval_{name}": value for name, value in means.items()}
        metrics["eval_decisive"] = sum(decisive) / max(1, len(decisive))
        metrics |= speed_metrics(
            "eval", start_s - time.perf_counter() + time.time(), num_samples=len(self.validation)
        )
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        self._since_s += (
            time.perf_counter() - start_s
        )  # validation does not count against the pace of training
        return metrics

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Return the optimizer with one group of parameters per part, at that part's learning rate."""
        if self.optimizer is None:
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            options.pop("lr", None)
            groups = [
                {"params": own, "lr": self.stage.learning_rates[part], "name": part}
                for part in PARTS
                if (
                    own := [
                        tensor
                        for name, tensor in self.model.named_parameters()
                        if tensor.requires_grad and part_of(name) == part
                    ]
                )
            ]
            self.optimizer = kind(groups, **options)
        return self.optimizer

    def _save(
        self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None
    ) -> None:
        """Save what the run trains, alone."""
        if not self.args.should_save:
            return
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        state = self.model.state_dict() if state_dict is None else state_dict
        kept = {
            name: tensor.detach().cpu().contiguous()
            for name, tensor in state.items()
            if name in set(self.trained)
        }
        save_file(kept, folder / TRAINED_FILE, metadata={"format": "pt"})

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        load_trained(self.model, resume_from_checkpoint)

    def _load_best_model(self) -> None:
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            super()._load_best_model()
        elif self.state.best_model_checkpoint:
            load_trained(self.model, self.state.best_model_checkpoint)


class LastStep(TrainerCallback):
    """Validate and save at the last step too: it may be the best."""

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """See to it where the last step has been made."""
        if state.global_step >= state.max_steps:
            control.should_evaluate = args.eval_strategy != "no"
            control.should_save = True


class Lines(TrainerCallback):
    """Write every line of the log to a file, from the step on at which training goes on, and say
    it.
    """

    def __init__(self, folder: Path, stage: Stage, say: Any) -> None:
        self.file, self.stage, self.say = folder / LOG_FILE, stage, say
        self.start_s, self.first_step = time.perf_counter(), 0

    def on_train_begin(
        self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any
    ) -> None:
        """Forget the lines after the checkpoint that training goes on from."""
        self.start_s, self.first_step = time.perf_counter(), state.global_step
        if state.is_world_process_zero and self.file.exists():
            lines = [
                line
                for line in self.file.read_text(encoding="utf-8").splitlines()
                if _step_of(line) <= state.global_step
            ]
            self.file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def on_log(
        self,
        args: TrainingArguments,
        state: Any,
        control: Any,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write one line."""
        if not state.is_world_process_zero or logs is None:
            return
        seconds = time.perf_counter() - self.start_s
        done = max(1, state.global_step - self.first_step)
        left_s = seconds / done * (state.max_steps - state.global_step)
        with open(self.file, "a", encoding="utf-8") as stream:
            stream.write(
                json.dumps({"step": state.global_step, "stage": self.stage.name, **logs}) + "\n"
            )
        if "loss" in logs or "eval_decisive" in logs:
            self.say(self._line(state, logs, left_s))

    def _line(self, state: Any, logs: dict[str, float], left_s: float) -> str:
        head = f"{self.stage.name} {state.global_step}/{state.max_steps}"
        losses = [
            f"{name.removeprefix('eval_')} {value:.3f}"
            for name, value in logs.items()
            if "@" in name
        ]
        if "eval_decisive" in logs:
            return f"{head} validation {logs['eval_decisive']:.4f}: {' '.join(losses)}"
        return (
            f"{head} {' '.join(losses)} | {logs.get('positions_per_s', 0):.0f} positions/s, "
            f"{format_seconds(left_s)} left"
        )


def is_main_process() -> bool:
    """Tell whether this is the first of the processes that torchrun or accelerate started, or the
    only one.
    """
    return int(os.environ.get("RANK", "0")) == 0


def part_of(name: str) -> str:
    """Return the part that a parameter belongs to, by its name."""
    names = name.split(".")
    return next((part for part in names if part in PARTS), "adapter")


def load_trained(model: nn.Module, folder: str | os.PathLike[str]) -> None:
    """Load what a checkpoint holds into the model.

    Raises:
        E2LLMError: The file is damaged or of another run.
    """
    try:
        state = load_file(Path(folder) / TRAINED_FILE)
        _, unexpected = model.load_state_dict(state, strict=False)
    except Exception as error:
        raise E2LLMError(
            f"`{folder}` cannot be loaded ({' '.join(str(error).split())[:200]}); delete it "
            "to go on from the checkpoint before."
        ) from error
    if unexpected:
        raise E2LLMError(
            f"`{folder}` holds {unexpected[0]!r}, which the model has not; it is of another "
            "run: use another `output`."
        )


def last_checkpoint(folder: str | os.PathLike[str]) -> str | None:
    """Return the newest whole checkpoint of a stage; those that an interruption left half written
    are deleted.
    """
    found = []
    for path in Path(folder).glob("checkpoint-*"):
        if (path / COMPLETE_FILE).exists():
            found.append(path)
        elif path.is_dir() and is_main_process():
            shutil.rmtree(path, ignore_errors=True)
    return str(max(found, key=lambda path: int(path.name.split("-")[-1]))) if found else None


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what a full disk makes of the libraries into one error.

    Raises:
        E2LLMError: The folder cannot be written.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "inline_container" not in str(
            error
        ):  # torch's writer of zip files
            raise
        reason = " ".join(str(error).split())[:200]
        raise E2LLMError(
            f"`{folder}` cannot be written ({reason}); free some space, then --resume: what "
            "was whole before still is."
        ) from error


def mark_complete(folder: Path) -> None:
    """Sync a folder's files, then write the mark that says that all are there."""
    for path in [*folder.iterdir(), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    (folder / COMPLETE_FILE).touch()


def format_seconds(seconds: float) -> str:
    """Say a duration in words: "1 h 05 min", "12 min", "40 s"."""
    if not math.isfinite(seconds):
        return "an unknown time"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def _step_of(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError):
        return 2**62  # a line that was cut short by an interruption
