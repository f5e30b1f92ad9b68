"""What a training task is: it makes samples of records, and their loss."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import numpy as np
from torch import Tensor

from e2llm.chunking.chunker import Span, make_spans
from e2llm.model.processing import E2LLMProcessor
from e2llm.model.rows import EncoderRow, count_states, soft_counts, soft_ids
from e2llm.training.data.records import Record, TextRecord
from e2llm.training.tasks.loss import Loss, answer_logits, answer_loss

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

    def near(self) -> Record:
        """Return a record that stands near it, most often about the same matter."""
        return self.next()

    @abstractmethod
    def about(self) -> list[Record]:
        """Return the other records about the same document, in the order of the source."""


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
    """Tokenise chunks for the encoder and deal their soft tokens out, `max_soft` at most.

    Where the ratio that was drawn gives more, it is raised. A chunk has one soft token at least:
    chunks beyond the first `max_soft` are left out.
    """
    processor, spans = draw.processor, spans[:max_soft]
    rows = processor.encoder_rows(text, spans, processor.window_chunks)
    n_states = count_states(rows, len(spans))  # (n_chunks,)
    n_tokens = processor.count_tokens(text, spans)  # (n_chunks,)
    counts, _ = soft_counts(n_tokens, n_states, draw.ratio)  # (n_chunks,)
    if counts.sum() > max_soft:
        # Of every chunk one soft token stands; the others are shared out.
        ratio = max(1.0, float(n_tokens.sum()) / max(1, max_soft - len(spans)))
        counts, _ = soft_counts(n_tokens, n_states, ratio)
    return Compressed(
        rows, soft_ids(rows, counts, processor.pool_special_tokens), int(counts.sum())
    )


def text_of(record: Record) -> str:
    """Return a record's text: its own, or that of the document that is asked about."""
    return record.text if isinstance(record, TextRecord) else record.context


def draw_window(text: str, draw: Draw) -> tuple[str, list[Span]]:
    """Cut a text and draw a window of `draw.n_chunks` of its chunks; return its text and spans."""
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
    """Tokenise an answer with its end; beyond `max_answer_tokens` it is cut and has no end."""
    ids = processor.text_ids(text) + end_ids(processor)
    return ids[: draw.max_answer_tokens]
