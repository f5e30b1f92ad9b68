"""Fit a trainable method on the records that E2LLM is trained on, with transformers' `Trainer`, a
sample at a time.

Checkpoints hold what is trained. What is drawn is a function of the seed and the sample's number,
so a resumed run is the uninterrupted one, bit for bit on a CPU.
"""

import dataclasses
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import PreTrainedModel, PrinterCallback, TrainingArguments, set_seed

from e2llm.checks import check_count
from e2llm.errors import UserError
from e2llm.methods.base import AROUND
from e2llm.methods.fitting.trainable import (
    METHOD_FILE,
    WEIGHTS_FILE,
    TrainableMethod,
    load_weights,
)
from e2llm.model.digest import digest_weights
from e2llm.model.versions import checkpoint_activations
from e2llm.training.data.records import QuestionRecord
from e2llm.training.data.sources import Source
from e2llm.training.mixture import SameSource, WeightedSources, stage_seed
from e2llm.training.stages import VALIDATION_SEED, interruptible
from e2llm.training.tasks.base import Draw, one_of, text_of
from e2llm.training.tasks.reasoning import draw_document
from e2llm.training.trainer import (
    LOG_FILE,
    DivergedError,
    ItemTrainer,
    LastStep,
    format_seconds,
    is_main_process,
    last_checkpoint,
    writing,
)

RUN_FILE = "fit.json"
# Records that do not fit the method's window are passed over, this many in a row.
_TRIES = 100


@dataclass(frozen=True)
class FitSettings:
    """How a method is fitted.

    Attributes:
        steps: Optimizer steps.
        learning_rate: Its peak; it rises over `warmup` of the steps and falls as a cosine.
        batch_size: Samples per step and process; the loss is the mean over the tokens of all.
        chunks: Most chunks of the document of a question, which is cut around its answer or stands
            among others as in `e2llm train`.
        document_tokens: Longest document; what is longer (the whole context of a summary) is cut at
            its end. Texts are joined to this length.
        warmup: Part of the steps.
        max_grad_norm: To which gradients are clipped.
        seed: Of the weights' beginning, and of every draw.
        save_every, log_every: Steps between checkpoints, each with a validation, and between lines
            of the log.
        validation_samples: Questions about documents set aside (5 % of every source); the weights
            kept are those whose checkpoint answers them best. 0 for no validation: the last weights
            are kept.
        gradient_checkpointing: Whether layers are computed again in the backward pass in place of
            being kept.
    """

    steps: int
    learning_rate: float = 4e-4
    batch_size: int = 8
    chunks: int = 16
    document_tokens: int = 4096
    warmup: float = 0.05
    max_grad_norm: float = 1.0
    seed: int = 0
    save_every: int = 100
    log_every: int = 10
    validation_samples: int = 32
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "chunks", "document_tokens", "save_every", "log_every"):
            check_count(name, getattr(self, name), 1)
        for name in ("seed", "validation_samples"):
            check_count(name, getattr(self, name), 0)
        if not 0 < self.learning_rate < float("inf"):
            raise UserError(
                f"`learning_rate` (={self.learning_rate!r}) must be above 0, such as 4e-4."
            )
        if not 0 <= self.warmup <= 1:
            raise UserError(f"`warmup` (={self.warmup!r}) must lie between 0 and 1.")


def fit(
    method: TrainableMethod,
    sources: Sequence[Source],
    settings: FitSettings,
    output: Path,
    resume: bool = False,
    say: Callable[[str], None] = print,
) -> Path:
    """Train a method and return the folder to give it as `weights`; the method that is passed stays
    as it is.

    Args:
        method: What is trained, from its own `weights` on where it has some.
        sources: Question records; and text records for a method that also reads texts, which reads
            the documents of the questions without them.
        settings: How.
        output: Folder of checkpoints, log and weights.
        resume: Go on with the interrupted run in `output`.
        say: Takes one line at a time of what happens.

    Raises:
        UserError: `output` holds a run and `resume` is not set, or it is another run; no record
            fits, or none can be set aside.
        DivergedError: The loss is no longer a number; checkpoints stay.
        KeyboardInterrupt: The run was interrupted; a checkpoint has been written.
    """
    say = say if is_main_process() else lambda line: None
    run = _run(method, sources, settings)
    _check(output, run, resume)
    if (output / METHOD_FILE).exists():
        return output
    set_seed(settings.seed)  # of the first weights
    method = replace(method)
    trained = method.trained()
    for parameter in trained.values():
        parameter.data = parameter.data.float()
    modules: list[Any] = list(method.module.modules())
    for module in modules:
        if hasattr(module, "cast_input_dtype_enabled"):
            module.cast_input_dtype_enabled = (
                False  # autocast sees to it, without a copy in float32 of every input
            )
        if (
            settings.gradient_checkpointing
            and isinstance(module, PreTrainedModel)
            and module.supports_gradient_checkpointing
        ):
            checkpoint_activations(module)
    kept, aside = _split(sources, settings)
    args = _arguments(method, settings, output, validates=bool(aside))
    samples = Samples(method, kept, settings, args.world_size)
    validation = (
        Samples(method, aside, replace(settings, seed=VALIDATION_SEED)).questions(
            settings.validation_samples
        )
        if aside
        else []
    )
    _begin(output, run)
    say(
        f"Fitting {sum(map(torch.numel, trained.values())):,} parameters on "
        f"{', '.join(f'{source.name} ({len(source):,})' for source in kept)}."
    )
    with interruptible() as interruption:
        trainer = FitTrainer(method, args, samples, validation, say)
        trainer.add_callback(LastStep())
        trainer.add_callback(interruption)
        trainer.train(resume_from_checkpoint=last_checkpoint(output))
    if interruption.acted:
        raise KeyboardInterrupt
    if is_main_process():
        _finish(method, output, run, trainer.state.best_metric)
    trainer.accelerator.wait_for_everyone()
    return output


class Samples(Dataset[dict[str, Any]]):
    """What is read, by number: texts first, as many as the method asks for, then questions.

    A sample has a "text", or a "document", a "question" and an "answer"; a "name"; and how many
    tokens it has in all (`n_positions`) and to predict (`n_items`).
    """

    def __init__(
        self,
        method: TrainableMethod,
        sources: Sequence[Source],
        settings: FitSettings,
        n_processes: int = 1,
    ) -> None:
        self.method, self.settings, self.processor = method, settings, method.pair.processor
        per_step = settings.batch_size * n_processes
        self.n_texts, self.n_samples = (
            round(method.text_share * settings.steps) * per_step,
            settings.steps * per_step,
        )
        questions = [source for source in sources if source.kind == "question"]
        texts = [source for source in sources if source.kind == "text"] or questions
        for n_wanted, own, kind in (
            (self.n_texts, texts, "text"),
            (self.n_samples - self.n_texts, questions, "question"),
        ):
            if n_wanted and not own:
                raise UserError(
                    f"`sources`: {type(method).__name__} is trained on {kind} records, and no "
                    "source has any; add one."
                )
        kinds = {"text": texts, "question": questions}
        self.sources = {
            kind: WeightedSources(own, stage_seed(str(settings.seed), kind))
            for kind, own in kinds.items()
            if own
        }

    def __len__(self) -> int:
        return self.n_samples

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return (
            self._draw("text", index)
            if index < self.n_texts
            else self._draw("question", index - self.n_texts)
        )

    def questions(self, n: int) -> list[dict[str, Any]]:
        """Return the first `n` questions, whatever is read before them."""
        return [self._draw("question", ordinal) for ordinal in range(n)]

    def _draw(self, kind: str, ordinal: int) -> dict[str, Any]:
        source, place = self.sources[kind].record(ordinal)
        rng = np.random.default_rng([self.settings.seed, int(kind == "text"), ordinal])
        for _ in range(_TRIES):
            sample = (
                self._text(source, place, rng)
                if kind == "text"
                else self._question(source, place, rng)
            )
            if sample is not None:
                return sample
            place = int(rng.integers(len(source)))
        raise UserError(
            f"`sources`: {_TRIES} records of {source.name!r} in a row are empty or do not fit "
            "the method's window; lower `document_tokens` "
            f"(={self.settings.document_tokens}), or run `e2llm data check` on it."
        )

    def _text(self, source: Source, place: int, rng: np.random.Generator) -> dict[str, Any] | None:
        n_wanted = min(self.settings.document_tokens, (self.method.window or 2**62) - AROUND)
        record, others = source[place], SameSource(source, place, rng)
        ids = self.processor.text_ids(text_of(record))
        first = int(rng.integers(max(1, len(ids) - n_wanted + 1)))
        while len(ids) < n_wanted:
            ids += self.processor.text_ids("\n\n" + text_of(others.next()))
        text = self._decode(ids[first : first + n_wanted])
        n = len(self.processor.text_ids(text))
        return (
            {"name": f"{record.source}/{record.id}", "text": text, "n_positions": n, "n_items": n}
            if n > 1
            else None
        )

    def _question(
        self, source: Source, place: int, rng: np.random.Generator
    ) -> dict[str, Any] | None:
        record = source[place]
        assert isinstance(record, QuestionRecord)
        answer = one_of(rng, record.answers)
        n_chunks = int(rng.integers(1, self.settings.chunks + 1))
        document, _, _ = draw_document(
            record,
            answer,
            Draw(self.processor, rng, "chunk", n_chunks),
            SameSource(source, place, rng),
        )
        ids = self.processor.text_ids(document)
        if len(ids) > self.settings.document_tokens:
            ids = ids[: self.settings.document_tokens]
            document = self._decode(ids)
        n_items = len(self.processor.text_ids(answer)) + 1  # its end
        n_positions = len(ids) + len(self.processor.text_ids(record.question)) + n_items
        if self.method.window is not None and n_positions + AROUND > self.method.window:
            return None
        sample = {"document": document, "question": record.question, "answer": answer}
        return {
            "name": f"{record.source}/{record.id}",
            **sample,
            "n_positions": n_positions,
            "n_items": n_items,
        }

    def _decode(self, ids: list[int]) -> str:
        # A cut through a character of several tokens leaves a sign for what is missing.
        return self.processor.tokenizer.decode(ids, clean_up_tokenization_spaces=False).strip(
            "\ufffd"
        )


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
            nats = self.method.nats(sample["document"], sample["question"], sample["answer"]).sum()
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
        """Return a sample's part of the step's mean over tokens; stop where it is not a number,
        before the weights are touched.
        """
        if self.first_step < 0:
            self.start_s, self.first_step = time.perf_counter(), self.state.global_step
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
        """Return the nats per token of the answers to the validation's questions, read as the
        method reads when it does not train.
        """
        start_s = time.perf_counter()
        self.model.eval()
        sums = torch.zeros(2)
        with torch.no_grad(), self.accelerator.autocast():
            for sample in self.validation[self.args.process_index :: self.args.world_size]:
                nats = self.method.nats(sample["document"], sample["question"], sample["answer"])
                sums += torch.tensor([float(nats.sum()), len(nats)])
        total, n_tokens = self.accelerator.reduce(sums.to(self.args.device), "sum").tolist()
        self.model.train()
        metrics = {"eval_loss": total / max(1, n_tokens)}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        self.start_s += (
            time.perf_counter() - start_s
        )  # validation does not count against the pace of training
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Write a line of the log and say it."""
        super().log(logs, start_time)
        step, last, seconds = (
            self.state.global_step,
            self.state.max_steps,
            time.perf_counter() - self.start_s,
        )
        if "eval_loss" in logs:
            facts, line = {}, f"validation {logs['eval_loss']:.4f}"
        elif "loss" in logs:
            pace = self.n_positions * self.accelerator.num_processes / seconds
            left_s = seconds / max(1, step - self.first_step) * (last - step)
            facts, line = (
                {"positions_per_s": round(pace, 1)},
                f"loss {logs['loss']:.4f} | {pace:.0f} positions/s, {format_seconds(left_s)} left",
            )
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
            save_file(
                {
                    name: parameter.detach().cpu().contiguous()
                    for name, parameter in self.method.trained().items()
                },
                folder / WEIGHTS_FILE,
            )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_weights(self.method.module, Path(resume_from_checkpoint) / WEIGHTS_FILE)

    def _load_best_model(self) -> None:
        if self.state.best_model_checkpoint:
            load_weights(self.method.module, Path(self.state.best_model_checkpoint) / WEIGHTS_FILE)


def _only(samples: list[dict[str, Any]]) -> dict[str, Any]:
    return samples[0]


def _arguments(
    method: TrainableMethod, settings: FitSettings, output: Path, validates: bool
) -> TrainingArguments:
    dtype, device = method.pair.base.dtype, method.pair.base.device
    return TrainingArguments(
        output_dir=str(output),
        max_steps=settings.steps,
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


def _split(sources: Sequence[Source], settings: FitSettings) -> tuple[list[Source], list[Source]]:
    """Set some questions aside to validate on; return what is left to train on, and those."""
    if not settings.validation_samples:
        return list(sources), []
    kept, aside = [], []
    for source in sources:
        if source.kind == "question":
            source, held_out = source.split(seed=settings.seed)
            aside.append(held_out)
        kept.append(source)
    return kept, aside


def _run(
    method: TrainableMethod, sources: Sequence[Source], settings: FitSettings
) -> dict[str, Any]:
    """Return what makes a run this one, as JSON holds it."""
    facts = {
        "method": type(method).__name__,
        "settings": method.settings,
        "fit": dataclasses.asdict(settings),
    }
    facts |= {"model": digest_weights(method.pair.base)}
    return json.loads(
        json.dumps(facts | {"sources": {source.name: len(source) for source in sources}})
    )


def _check(output: Path, run: dict[str, Any], resume: bool) -> None:
    """Raise `UserError` unless the run can begin in `output`, or go on there."""
    if not (output / RUN_FILE).exists():
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise UserError(f"`output` (={output}) is not empty; name a new folder.")
        return
    if not resume:
        raise UserError(
            f"`output` (={output}) holds a run already; add --resume to go on with it, or "
            "name another folder."
        )
    try:
        old = json.loads((output / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"`output` (={output}): {RUN_FILE} is damaged ({error}); name another folder."
        ) from error
    changed = [
        f"{name}: {old.get(name)} -> {value}"
        for name, value in run.items()
        if old.get(name) != value
    ]
    if changed:
        raise UserError(
            f"`output` (={output}) holds another run ({'; '.join(changed)}); change it back, "
            "or name another folder."
        )


def _begin(output: Path, run: dict[str, Any]) -> None:
    """Write what the run is into `output`, once all that it needs has been found."""
    file = output / RUN_FILE
    if file.exists() or not is_main_process():
        return
    try:
        output.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(".tmp")
        temporary.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
        temporary.rename(file)
    except OSError as error:
        raise UserError(
            f"`output` (={output}) cannot be written ({error.strerror}); name another folder."
        ) from error


def _finish(
    method: TrainableMethod, output: Path, run: dict[str, Any], validation_loss: float | None
) -> None:
    """Write the weights, then the file that says that they are whole, and let go of the
    checkpoints.
    """
    temporary = output / ".weights"
    with writing(output):
        temporary.mkdir(exist_ok=True)
        facts = {
            "steps": run["fit"]["steps"],
            "seed": run["fit"]["seed"],
            "validation_loss": validation_loss,
        }
        method.save(temporary, **facts, fit=run["fit"], sources=run["sources"])
        for name in (WEIGHTS_FILE, METHOD_FILE):
            (temporary / name).rename(output / name)
        temporary.rmdir()
    for checkpoint in output.glob("checkpoint-*"):
        shutil.rmtree(checkpoint, ignore_errors=True)
