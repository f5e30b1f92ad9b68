"""transformers' `Trainer` over our batches.

Losses are per task and ratio, learning rates per part, and checkpoints hold what is trained.
"""

import math
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import speed_metrics

from e2llm.errors import E2LLMError
from e2llm.training.checkpoints import (
    TRAINED_FILE,
    last_checkpoint,
    load_trained,
    mark_complete,
    writing,
)
from e2llm.training.collator import Collator
from e2llm.training.mixture import Mixture
from e2llm.training.objective import Objective
from e2llm.training.parameters import part_of
from e2llm.training.recipe import PARTS, Stage

# Where the stage has some of these tasks, their validation losses alone decide the best checkpoint
# (paper section 4.1).
REASONING = ("reasoning", "expanding", "dialogue", "recall", "distillation", "self-distillation")


class DivergedError(E2LLMError):
    """The loss is no longer a number."""


class ItemTrainer(Trainer):
    """transformers' `Trainer` over items that are batches; checkpoints are whole or none."""

    def get_train_dataloader(self) -> DataLoader:
        """Return the items in their order; accelerate deals them to the processes."""
        assert self.train_dataset is not None
        # The library's own loader would shuffle, and the mixture's order is drawn already.
        loader: DataLoader = DataLoader(
            self.train_dataset,
            batch_size=1,
            shuffle=False,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            prefetch_factor=self.args.dataloader_prefetch_factor,
        )
        return self.accelerator.prepare(loader)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Save a checkpoint; a mark in it, written last, says that it is whole."""
        folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
        with writing(folder):
            super()._save_checkpoint(model, trial)
            # Each process has a file of its own there: the state of its random numbers.
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                mark_complete(folder)


class StageTrainer(ItemTrainer):
    """Train one stage.

    Args:
        objective: The pair with its losses.
        stage: What is trained, how.
        args: transformers' arguments, from `arguments.training_arguments`.
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
        self.stage, self.trained = stage, trained
        self.mixture, self.validation = mixture, validation
        self._sums: dict[str, Tensor] = {}  # per task and ratio, (2,): sum of losses, of items
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
        self.remove_callback(PrinterCallback)  # `Log` says it

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the batch's loss; where it is no number, stop before the weights are touched."""
        outputs = model(**inputs)
        loss = outputs["loss"]  # ()
        shown = ", ".join(inputs["names"][:4]) + (" ..." if len(inputs["names"]) > 4 else "")
        self._read.append(f"task {inputs['task']}, ratio {inputs['ratio']}, samples {shown}")
        if not torch.isfinite(loss):
            raise self._diverged("loss", float(loss.detach()), self._read[-1])
        if model.training:
            self._count(self._sums, inputs, outputs)
            self._n_positions += inputs["n_positions"]
        return (loss, outputs) if return_outputs else loss

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """Where a gradient is no number, stop before the weights are touched.

        float16's scaler passes such steps over by itself.
        """
        grad_norm = super()._get_grad_norm(model, grad_norm)
        if self.accelerator.scaler is None and not math.isfinite(grad_norm):
            raise self._diverged("gradient's norm", float(grad_norm), "; ".join(self._read))
        self._read = []
        return grad_norm

    def _diverged(self, what: str, value: float, read: str) -> DivergedError:
        """Return the error that names the samples and the checkpoint to go back to."""
        last = last_checkpoint(self.args.output_dir)
        return DivergedError(
            f"the {what} is {value} at step {self.state.global_step + 1} ({read}); the last "
            f"good checkpoint is {last or 'none yet'}: lower the learning rates or look at "
            "these samples, then --resume."
        )

    def _count(
        self, sums: dict[str, Tensor], inputs: dict[str, Any], outputs: dict[str, Tensor]
    ) -> None:
        """Add a batch's loss and its items to those of its task and ratio."""
        key = f"{inputs['task']}@{inputs['ratio']}"
        add = torch.stack([outputs["total"].float(), outputs["n_items"].float()])  # (2,)
        sums[key] = sums[key] + add if key in sums else add

    def _means(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """Average over the items of all processes: per task, and per task and ratio."""
        # MPS does not know float64.
        precision = torch.float32 if self.args.device.type == "mps" else torch.float64
        # A row for every key, also for those that this process has not read: all add the same
        # table.
        rows = [sums.get(key, torch.zeros(2)).cpu() for key in self._keys]
        table = torch.stack(rows).to(self.args.device, precision)  # (keys, 2)
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
        """Add the loss per task and ratio, and positions per second, to the library's line."""
        if "loss" in logs:
            seconds = time.perf_counter() - self._since_s
            n_own = torch.tensor(float(self._n_positions), device=self.args.device)  # ()
            rate = self.accelerator.reduce(n_own, "sum").item() / seconds
            logs |= {**self._means(self._sums), "positions_per_s": round(rate, 1)}
            self._sums, self._n_positions, self._since_s = {}, 0, time.perf_counter()
        super().log(logs, start_time)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Return the validation loss per task and ratio, and `eval_decisive`.

        The best checkpoint is the one with the least of the latter.
        """
        start_s = time.perf_counter()
        # It is the wrapper that gathers the parameters where they are sharded.
        model = self.model_wrapped
        model.eval()
        sums: dict[str, Tensor] = {}
        # Processes take turns. Each runs the model as often as the others, since all must meet
        # where the model is sharded; what is one too many does not count.
        n_batches, n_processes = len(self.validation), self.args.world_size
        n_turns = -(-n_batches // n_processes) * n_processes
        with torch.no_grad(), self.accelerator.autocast():
            for index in range(self.args.process_index, n_turns, n_processes):
                batch = self.validation[index % n_batches]
                inputs = self._prepare_inputs(self.data_collator([batch]))
                outputs = model(**inputs)
                if index < n_batches:
                    self._count(sums, inputs, outputs)
        model.train()
        means = self._means(sums)
        seen = [task for task in self.stage.tasks if task in means]
        decisive = [means[task] for task in seen if task in REASONING] or [
            means[task] for task in seen
        ]
        metrics = {f"eval_{name}": value for name, value in means.items()}
        metrics["eval_decisive"] = sum(decisive) / max(1, len(decisive))
        # The library measures from a time of the wall clock.
        metrics |= speed_metrics(
            "eval", start_s - time.perf_counter() + time.time(), num_samples=n_batches
        )
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        # Validation does not count against the pace of training.
        self._since_s += time.perf_counter() - start_s
        return metrics

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Return the optimizer, with the parameters of a part at that part's learning rate."""
        if self.optimizer is None:
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            options.pop("lr", None)
            trained: dict[str, list[nn.Parameter]] = {part: [] for part in PARTS}
            for name, parameter in self.model.named_parameters():
                if parameter.requires_grad:
                    trained[part_of(name)].append(parameter)
            groups = [
                {"params": own, "lr": self.stage.learning_rates[part], "name": part}
                for part, own in trained.items()
                if own
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
        # The library writes and reads the shards of its own wrappers.
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
