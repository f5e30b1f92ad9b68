"""What a training task is: a record becomes a sample, and a batch of samples a loss."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from e2llm.chunking.chunker import Span, make_spans
from e2llm.model.modeling import CHUNK_INPUTS
from e2llm.model.processing import E2LLMProcessor
from e2llm.model.rows import EncoderRow, count_states, soft_counts, soft_ids
from e2llm.training.data.records import Record, TextRecord

T = TypeVar("T")


@dataclass(frozen=True)
class Draw:
    """What is drawn for one sample, before its record is looked at.

    Attributes:
        processor: The pair's.
        rng: The sample's own source of chance.
        ratio: Text tokens per soft token, or "chunk".
        n_chunks: Chunks of the document, where the record has as many.
        max_answer_tokens, max_positions: Bounds of the answer (of a conversation, of all that
            follows the first prompt) and of the prompt.
    """

    processor: E2LLMProcessor
    rng: np.random.Generator
    ratio: float | str
    n_chunks: int
    max_answer_tokens: int = 512
    max_positions: int = 2048


@dataclass
class Sample:
    """One training example, as token ids.

    Attributes:
        name: Source and id of its record, for messages.
        rows: Encoder inputs of its document.
        soft_ids: Per row the soft token that each token feeds, counted from 0 in the sample; -1 for
            none.
        prompt_ids: Decoder ids before the answer, a placeholder for every soft token.
        answer_ids: Decoder ids that the loss is taken on.
        turns: What follows in the same conversation: per turn the ids before its answer, and the
            answer's, on which the loss is taken too.
        teacher_ids: The prompt with text in place of soft tokens, where a teacher reads it.
        targets: Per soft token the decoder ids that it should stand for, where those are regressed.
    """

    name: str
    rows: list[EncoderRow] = field(default_factory=list)
    soft_ids: list[np.ndarray] = field(default_factory=list)
    prompt_ids: list[int] = field(default_factory=list)
    answer_ids: list[int] = field(default_factory=list)
    turns: list[tuple[list[int], list[int]]] = field(default_factory=list)
    teacher_ids: list[int] | None = None
    targets: list[list[int]] | None = None

    @property
    def n_encoded(self) -> int:
        """Tokens that the encoder reads."""
        return sum(len(row.input_ids) for row in self.rows)

    @property
    def n_positions(self) -> int:
        """Decoder positions, or encoder tokens where the decoder does not run."""
        n_later = sum(len(prompt) + len(answer) for prompt, answer in self.turns)
        return len(self.prompt_ids) + len(self.answer_ids) + n_later or self.n_encoded


@dataclass
class Loss:
    """The loss of a batch.

    Attributes:
        total: Sum over the items.
        n_items: Items that it is a sum over: answer tokens, or regressed token states.
    """

    total: Tensor
    n_items: Tensor


class Task(ABC):
    """Turn a record into a sample, and a batch of samples into a loss.

    Attributes:
        name: By which recipes call it.
        kind: What it reads: "text" or "question" records; a task that reads texts takes the
            documents of question records where it finds no others.
        taught: Whether its samples hold the teacher's prompt.
    """

    name: ClassVar[str]
    kind: ClassVar[str]

    def __init__(self, taught: bool = False) -> None:
        self.taught = taught

    @abstractmethod
    def make(self, record: Record, draw: Draw, others: "Others") -> Sample | None:
        """Return a sample of `record`, or None where nothing can be made of it."""

    def loss(self, model: Any, inputs: dict[str, Tensor]) -> Loss:
        """Return the negative log-likelihood of the answers, in nats."""
        return answer_loss(answer_logits(model, inputs), inputs["labels"])


class Others(ABC):
    """More records of the source that a record is from."""

    @abstractmethod
    def next(self) -> Record:
        """Return another record, by chance, to stand beside it in one document."""

    @abstractmethod
    def about(self) -> list[Record]:
        """Return the other records about the same document, in the order of the source."""


def answer_logits(model: Any, inputs: dict[str, Tensor], prefix: str = "") -> Tensor:
    """Run the model and return the logits that predict the labels, (n_labels, vocab): the head
    reads no other position.

    Args:
        model: The pair.
        inputs: The batch.
        prefix: "teacher_" for the teacher's prompt and labels.
    """
    labels = inputs[f"{prefix}labels"]
    given = {
        name: inputs[prefix + name]
        for name in ("input_ids", "position_ids", "cu_seq_lens_q")
        if prefix + name in inputs
    }
    if not prefix:
        given |= {name: inputs[name] for name in CHUNK_INPUTS[:3]}
    predicting = F.pad(labels[:, 1:] != -100, (0, 1))

    def select(head: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (arguments[0][predicting], *arguments[1:])

    hook = model.get_output_embeddings().register_forward_pre_hook(select)
    try:
        return model(**given, use_cache=False).logits
    finally:
        hook.remove()


def answer_loss(logits: Tensor, labels: Tensor) -> Loss:
    """Sum the negative log-likelihood over the labels that are not -100.

    Shape:
        logits (n_labels, vocab), labels (batch, seq)
    """
    kept = labels[labels != -100]
    return Loss(
        NegativeLogLikelihood.apply(logits, kept), torch.tensor(len(kept), device=logits.device)
    )


class NegativeLogLikelihood(torch.autograd.Function):
    """Cross-entropy summed over rows, in float32 a few rows at a time: no float32 copy of all
    logits is ever made.

    Shape:
        logits (n, vocab), labels (n,) -> scalar
    """

    # What one step holds in float32: small on a CPU, where it stays in the cache; large elsewhere,
    # where every step costs a launch.
    ROWS, ACCELERATED_ROWS = 64, 4096

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the sum."""
        parts = [part.float().logsumexp(-1) for part in logits.split(_rows(logits))]
        normalisers = torch.cat(parts) if parts else logits.new_zeros(0, dtype=torch.float32)
        ctx.save_for_backward(logits, labels, normalisers)
        return (normalisers - logits.gather(1, labels[:, None])[:, 0].float()).sum()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Return gradient x (softmax - one-hot)."""
        logits, labels, normalisers = ctx.saved_tensors
        result = torch.empty_like(logits)
        rows = _rows(logits)
        for part, own, normaliser, out in zip(
            logits.split(rows),
            labels.split(rows),
            normalisers.split(rows),
            result.split(rows),
            strict=True,
        ):
            probabilities = (part.float() - normaliser[:, None]).exp_()
            probabilities.scatter_add_(1, own[:, None], probabilities.new_full((len(own), 1), -1.0))
            out.copy_(probabilities.mul_(gradient))
        return result, None


def _rows(logits: Tensor) -> int:
    return (
        NegativeLogLikelihood.ROWS
        if logits.device.type == "cpu"
        else NegativeLogLikelihood.ACCELERATED_ROWS
    )


@dataclass(frozen=True)
class Compressed:
    """A text made ready for the encoder.

    Attributes:
        rows, soft_ids: As in `Sample`.
        n_soft: Soft tokens in all.
    """

    rows: list[EncoderRow]
    soft_ids: list[np.ndarray]
    n_soft: int


def prepare(text: str, spans: list[Span], draw: Draw, max_soft: int) -> Compressed:
    """Tokenise chunks for the encoder and deal their soft tokens out, at a higher ratio than drawn
    where `max_soft` asks for it.

    A chunk has one soft token at least: those beyond the first `max_soft` are left out.
    """
    processor, spans = draw.processor, spans[:max_soft]
    rows = processor.encoder_rows(text, spans, processor.window_chunks)
    n_states = count_states(rows, len(spans))
    n_tokens = processor.count_tokens(text, spans)
    counts, _ = soft_counts(n_tokens, n_states, draw.ratio)
    if counts.sum() > max_soft:
        counts, _ = soft_counts(
            n_tokens, n_states, max(1.0, float(n_tokens.sum()) / max(1, max_soft - len(spans)))
        )
    return Compressed(
        rows, soft_ids(rows, counts, processor.pool_special_tokens), int(counts.sum())
    )


def text_of(record: Record) -> str:
    """Return a record's text: its own, or that of the document that is asked about."""
    return record.text if isinstance(record, TextRecord) else record.context


def draw_window(text: str, draw: Draw) -> tuple[str, list[Span]]:
    """Cut a text and draw a sliding window of `draw.n_chunks` of its chunks; return the window's
    text and its spans.
    """
    spans = make_spans(text, draw.processor.chunker)
    n_chunks = min(draw.n_chunks, len(spans))
    first = int(draw.rng.integers(0, len(spans) - n_chunks + 1))
    own = spans[first : first + n_chunks]
    start, end = own[0][0], own[-1][1]
    return text[start:end], [(begin - start, stop - start) for begin, stop in own]


def one_of(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """Draw one of the choices, each as likely as any other."""
    return choices[int(rng.integers(len(choices)))]


def end_ids(processor: E2LLMProcessor) -> list[int]:
    """Return the id that ends an answer."""
    end = processor.tokenizer.eos_token_id
    return [] if end is None else [int(end)]


def answer_ids(processor: E2LLMProcessor, text: str, draw: Draw) -> list[int]:
    """Tokenise an answer with its end; an answer longer than `max_answer_tokens` is cut and has no
    end.
    """
    ids = processor.text_ids(text) + end_ids(processor)
    return ids[: draw.max_answer_tokens]


def bag_means(table: Tensor, targets: Tensor) -> Tensor:
    """Average rows of an embedding table; `targets` (n, longest) is padded with -1.

    Return (n, d).
    """
    mask = targets >= 0
    return (table[targets.clamp(min=0)] * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(
        min=1
    )


def stack_targets(targets: list[list[int]]) -> Tensor:
    """Pad lists of ids with -1, (n, longest)."""
    longest = max([1, *map(len, targets)])
    return torch.tensor([own + [-1] * (longest - len(own)) for own in targets]).reshape(-1, longest)
