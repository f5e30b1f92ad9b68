"""What every method is: something that reads a long document once and answers many questions about it with the pair's decoder.

All methods share one decoder (the pair's own, with its LoRA merged as loaded), one form of prompt, one way of decoding and one clock, so
that what differs between two rows of a table is the method alone.
"""

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from e2llm.answering import E2LLM
from e2llm.chunking import SpanMaker
from e2llm.compressing import evaluating
from e2llm.engines import Engine, Generation, Sampling
from e2llm.engines.transformers import TransformersEngine
from e2llm.errors import WindowError
from e2llm.methods import costs
from e2llm.prompting import Passage, answer_text, prompt_parts

NAME = "document"
# Positions that a prompt takes beside the document and the answer, when they must be predicted: instruction, chat markers, question.
AROUND = 192


@dataclass(frozen=True)
class Prompt:
    """What the decoder reads: token ids, and (n_soft, d_dec) soft tokens for the placeholders among them."""

    ids: list[int]
    soft_tokens: Tensor | None = None


@dataclass(frozen=True)
class Reading:
    """A document as a method keeps it between questions.

    Attributes:
        kept: What the method wants to keep: compressed document, cut text, filled cache.
        engine: What runs the decoder on questions about it; its cache of one question serves the next.
        seconds: What reading took.
        flops: Floating-point operations of reading.
    """

    kept: Any
    engine: Engine
    seconds: float
    flops: int


@dataclass(frozen=True)
class Result:
    """An answer and its cost.

    Attributes:
        text: The answer.
        positions: Decoder positions of the prompt; `n_soft` of them are soft tokens, `n_reused` stood in the cache of the question before.
        n_answer_tokens: Tokens written.
        first_token_s, total_s: Seconds from the question to the first token of the answer, and to its end.
        flops: Floating-point operations from the question to the end of the answer.
    """

    text: str
    positions: int
    n_soft: int
    n_reused: int
    n_answer_tokens: int
    first_token_s: float
    total_s: float
    flops: int


class TimedGeneration(Generation):
    """Note when the first token is there; the text that holds it may wait for the next ones.

    Attributes:
        first_s: Reading of the clock at that moment.
    """

    first_s: float = 0.0

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "n_tokens" and value and not self.first_s:
            self.first_s = time.perf_counter()
        super().__setattr__(name, value)


@dataclass
class Method(ABC):
    """Read a document once, answer many questions about it, and report the cost.

    A subclass is a dataclass whose other fields are its hyper-parameters, each with the source of its value. It says what it keeps of a
    document (`keep`), what the decoder then reads (`prompt`) and how many positions that takes (`positions`). One that decodes in its own way
    gives another `decoder`, or overrides `answer` and `score`.

    Attributes:
        pair: The pair whose decoder, encoder, chunker and prompt every method uses.
        role: What it is in a comparison: "floor", "ceiling", "equal budget", or "" for a method of its own.
        encodes: Whether the encoder reads document and question.
    """

    pair: E2LLM = field(repr=False)
    role: ClassVar[str] = ""
    encodes: ClassVar[bool] = False

    @abstractmethod
    def keep(self, text: str) -> Any:
        """Return what is kept of a document for all questions about it.

        Raises:
            WindowError: The document is too long for this method.
        """

    @abstractmethod
    def prompt(self, kept: Any, question: str, max_new_tokens: int) -> Prompt:
        """Return what the decoder reads to answer a question with what was kept of its document.

        Raises:
            WindowError: It does not fit the decoder's window with `max_new_tokens` for the answer.
        """

    @abstractmethod
    def positions(self, n_tokens: int) -> int:
        """Predict the decoder positions that a document of `n_tokens` tokens takes in a prompt."""

    @property
    def settings(self) -> dict[str, Any]:
        """The hyper-parameters by name."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name != "pair"}

    @property
    def chunker(self) -> SpanMaker:
        """What cuts documents, and where results by position mark the edges of chunks."""
        return self.pair.chunker

    @property
    def decoder(self) -> Any:
        """The decoder that answers."""
        return self.pair.base.decoder

    @property
    def window(self) -> int | None:
        """Positions that the decoder reads; None where nothing limits them."""
        return self.pair.config.decoder_window

    def read(self, text: str) -> Reading:
        """Read a document, once.

        Raises:
            WindowError: It is too long for this method.
        """
        start_s = time.perf_counter()
        kept = self.keep(text)
        seconds = time.perf_counter() - start_s
        engine = TransformersEngine(self.decoder, self.pair.processor.tokenizer)
        return Reading(kept, engine, seconds, costs.encoder_flops(self.pair, text, self.chunker) if self.encodes else 0)

    def answer(self, reading: Reading, question: str, max_new_tokens: int) -> Result:
        """Answer a question greedily.

        Raises:
            WindowError: The prompt does not fit the decoder's window.
        """
        start_s = time.perf_counter()
        prompt = self.prompt(reading.kept, question, max_new_tokens)
        generation = TimedGeneration()
        with evaluating(self.pair.base):
            text = "".join(reading.engine.stream(self.embed(prompt), Sampling(max_new_tokens), generation)).strip()
        total_s = time.perf_counter() - start_s
        first_s = generation.first_s - start_s if generation.n_tokens else total_s
        n_prompt, n_soft = len(prompt.ids), 0 if prompt.soft_tokens is None else len(prompt.soft_tokens)
        flops = costs.encoder_flops(self.pair, question, self.chunker) if self.encodes else 0
        flops += costs.decoder_flops(self.decoder, n_prompt - generation.n_reused, generation.n_reused)
        flops += costs.writing_flops(self.decoder, n_prompt, generation.n_tokens)
        return Result(text, n_prompt, n_soft, generation.n_reused, generation.n_tokens, first_s, total_s, flops)

    @torch.inference_mode()
    def score(self, reading: Reading, question: str, answer: str) -> Tensor:
        """Return the nats of each token of an answer that somebody else wrote, (n_answer_tokens,) float32; their mean is the log perplexity.

        Raises:
            WindowError: Prompt and answer do not fit the decoder's window.
        """
        ids = self.pair.processor.text_ids(answer_text(self.pair.processor, answer))
        prompt = self.prompt(reading.kept, question, len(ids))
        embeddings = self.embed(Prompt(prompt.ids + ids, prompt.soft_tokens))
        with evaluating(self.pair.base):
            logits = self.decoder(inputs_embeds=embeddings[None], use_cache=False, logits_to_keep=len(ids) + 1).logits[0, :-1]
        return F.cross_entropy(logits.float(), torch.tensor(ids, device=logits.device), reduction="none").cpu()

    def refusal(self, n_tokens: int, max_new_tokens: int, machine: costs.Machine) -> str | None:
        """Say in words why a document of `n_tokens` tokens cannot be read here with room for the answer; None where it can."""
        positions = self.positions(n_tokens) + AROUND
        if self.window is not None and positions + max_new_tokens > self.window:
            return _beyond(positions + max_new_tokens, self.window)
        n_bytes = costs.decoder_bytes(self.decoder, positions + max_new_tokens)
        flops = costs.decoder_flops(self.decoder, positions)
        flops += 2 * n_tokens * costs.linear_weights(self.pair.base.encoder) if self.encodes else 0
        seconds = flops / machine.flops_per_s + max_new_tokens * machine.token_s
        return machine.refusal(n_bytes, seconds)

    def embed(self, prompt: Prompt) -> Tensor:
        """Return a prompt's input embeddings, (seq, d_dec)."""
        with torch.inference_mode():
            ids = torch.tensor([prompt.ids], device=self.decoder.device)
            if prompt.soft_tokens is None:
                return self.decoder.get_input_embeddings()(ids)[0]
            return self.pair.base.embed(ids, prompt.soft_tokens[None])[0]

    def text_prompt(self, passages: list[Passage], question: str, max_new_tokens: int) -> Prompt:
        """Return the prompt that holds passages of the document as text; without any, the question alone.

        Raises:
            WindowError: It does not fit the decoder's window.
        """
        documents = [(NAME, 0)] if passages else []
        ids = self.pair.processor.prompt_ids(prompt_parts(question, documents, passages, soft=False, cue=self.pair.answers_cue))
        if self.window is not None and len(ids) + max_new_tokens > self.window:
            raise WindowError(_beyond(len(ids) + max_new_tokens, self.window))
        return Prompt(ids)


def _beyond(positions: int, window: int) -> str:
    return f"window: it needs {positions:,} decoder positions and the decoder's window holds {window:,}"
