"""What comes back: the answer piece by piece, the chunks that it rests on, and what it cost."""

import inspect
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

import torch

from e2llm.engines import Engine, Generation, Sampling
from e2llm.errors import UserError
from e2llm.model import E2LLMForCausalLM
from e2llm.model.modeling import evaluating
from e2llm.reading.found import REFUSED, refusal
from e2llm.reading.notices import cut_notice
from e2llm.reading.plan import Plan
from e2llm.reading.prompt import ExpandedChunk


@dataclass(frozen=True)
class Usage:
    """What an answer cost.

    Attributes:
        positions: Decoder positions of the prompt.
        n_soft: Of these, soft tokens.
        n_reused: Of these, positions whose cache the question before had filled.
        n_answer_tokens: Tokens written.
        rank_s: Seconds to embed the question, rank the chunks and build the prompt.
        first_token_s: Seconds from the question to the first piece of the answer, ranking included.
        total_s: Seconds from the question to the end of the answer.
    """

    positions: int
    n_soft: int
    n_reused: int
    n_answer_tokens: int
    rank_s: float
    first_token_s: float
    total_s: float


@dataclass(frozen=True)
class Answer:
    """An answer with the chunks that it rests on.

    Attributes:
        text: The answer.
        expanded: Chunks that stood in the prompt as text, in the order of the documents.
        usage: Positions and seconds.
        notices: What the reader should know: soft tokens left out, chunks that found no room, and
            last, that the answer was cut.
        finish_reason: Why it ends: "stop" where the decoder ended it, "length" where it was cut at
            `max_new_tokens`, "cancelled" where its stream was closed.
        plan: In which form each chunk stood in the prompt; it prints as a table.
        found: Whether the documents seem to say what is asked; False for a refusal, in which
            `expanded` is what comes nearest. None where it cannot be told (see `Finder.find`).
    """

    text: str
    expanded: tuple[ExpandedChunk, ...]
    usage: Usage
    notices: tuple[str, ...] = ()
    finish_reason: str = "stop"
    plan: Plan | None = field(default=None, repr=False, compare=False)
    found: bool | None = None


class Stream:
    """The pieces of an answer as the decoder writes them.

    `text` is what has been written so far. Once they have ended, or the stream was closed,
    `finish_reason` says why and `answer` is complete.

    Args:
        model: The pair's model, without PEFT's wrapper.
        engine: What runs its decoder.
        plan: What the decoder reads.
        sampling: How it writes.
        start_s: When the question was asked, by `time.perf_counter`.
        found: Whether the documents say what is asked, where that is known.
        refuse: Whether one sentence stands for an answer that is not there; then the decoder reads
            nothing.
    """

    def __init__(
        self,
        model: E2LLMForCausalLM,
        engine: Engine,
        plan: Plan,
        sampling: Sampling,
        start_s: float,
        found: bool | None = None,
        refuse: bool = True,
    ) -> None:
        # Ranking and planning are done by now; the decoder has not begun.
        self._rank_s = time.perf_counter() - start_s
        self._start_s, self._first_s, self._text = start_s, 0.0, ""
        self._plan, self._prompt, self._generation = plan, plan.prompt, Generation()
        self._found, self._refused = found, refuse and found is False
        self._pieces = self._refuse() if self._refused else self._write(model, engine, sampling)
        self._answer: Answer | None = None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._pieces)

    def close(self) -> None:
        """Stop the decoder; what it has written is the answer, and what it has not is lost."""
        begun = inspect.getgeneratorstate(self._pieces) != inspect.GEN_CREATED
        self._pieces.close()
        if not begun:
            self._end("cancelled")

    @property
    def text(self) -> str:
        """What has been written so far."""
        return self._text

    @property
    def finish_reason(self) -> str | None:
        """Why the answer ended, as in `Answer`; None while it is written, or where it failed."""
        return None if self._answer is None else self._answer.finish_reason

    @property
    def answer(self) -> Answer:
        """The whole answer; what has not been read of the stream is read first."""
        for _ in self:
            pass
        if self._answer is None:
            raise UserError("`stream` ended before the answer was complete; ask again.")
        return self._answer

    def _refuse(self) -> Generator[str, None, None]:
        self._text = refusal(self._plan.documents)
        self._first_s = time.perf_counter() - self._start_s
        self._end("stop")
        yield self._text

    def _write(
        self, model: E2LLMForCausalLM, engine: Engine, sampling: Sampling
    ) -> Generator[str, None, None]:
        soft = self._prompt.soft_tokens
        with torch.inference_mode():
            ids = torch.tensor([self._prompt.ids], device=model.decoder.device)  # (1, seq)
            embeddings = model.embed(ids, None if soft is None else soft[None])[0]  # (seq, d_dec)
        try:
            with evaluating(model):
                # The first piece ends the wait that people feel; it may hold several tokens.
                for piece in engine.stream(embeddings, sampling, self._generation):
                    self._first_s = self._first_s or time.perf_counter() - self._start_s
                    self._text += piece
                    yield piece
        except (GeneratorExit, KeyboardInterrupt):
            self._end("cancelled")
            raise
        self._end(self._generation.finish_reason or "stop")

    def _end(self, reason: str) -> None:
        prompt, generation = self._prompt, self._generation
        total_s = time.perf_counter() - self._start_s
        n_soft = 0 if prompt.soft_tokens is None else len(prompt.soft_tokens)
        usage = Usage(
            positions=0 if self._refused else len(prompt.ids),
            n_soft=0 if self._refused else n_soft,
            n_reused=generation.n_reused,
            n_answer_tokens=generation.n_tokens,
            rank_s=self._rank_s,
            first_token_s=self._first_s or total_s,
            total_s=total_s,
        )
        notices = prompt.notices
        if reason == "length":
            notices = (*notices, cut_notice(generation.n_tokens))
        if self._refused:
            notices = (*notices, REFUSED)
        answer = (self._text.strip(), prompt.expanded, usage, notices, reason, self._plan)
        self._answer = Answer(*answer, self._found)
