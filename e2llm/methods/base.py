"""What every method is: it reads a long document once and answers many questions about it.

All methods share one decoder (the pair's own, with its LoRA merged as loaded), one form of prompt,
one way of decoding and one clock, so that what differs between two rows of a table is the method
alone.
"""

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from e2llm.chunking.chunker import SpanMaker, make_spans
from e2llm.engines import Engine, Generation, Sampling
from e2llm.engines.transformers import TransformersEngine
from e2llm.errors import WindowError
from e2llm.model.modeling import evaluating
from e2llm.model.operations import (
    decoder_bytes,
    decoder_flops,
    encoder_flops,
    linear_weights,
    writing_flops,
)
from e2llm.pair import E2LLM
from e2llm.reading.prompt import Passage, Prompt, answer_cue, answer_text, prompt_parts
from e2llm.reading.rendering import Render, render

NAME = "document"
# Positions that a prompt takes beside the document and the answer, when they must be predicted:
# instruction, chat markers, question.
AROUND = 192


@dataclass(frozen=True)
class Reading:
    """A document as a method keeps it between questions.

    Attributes:
        kept: What the method wants to keep: compressed document, cut text, filled cache.
        engine: What runs the decoder on questions about it; its cache of one question serves the
            next.
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
        positions: Decoder positions of the prompt; `n_soft` of them are soft tokens, `n_reused`
            stood in the cache of the question before.
        n_answer_tokens: Tokens written.
        first_token_s, total_s: Seconds from the question to the first token of the answer, and to
            its end.
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
    """A generation that notes when the first token is there.

    The text that holds it may wait for the next ones.

    Attributes:
        first_s: Reading of the clock at that moment.
    """

    first_s: float = 0.0

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "n_tokens" and value and not self.first_s:
            self.first_s = time.perf_counter()
        super().__setattr__(name, value)


@dataclass(frozen=True)
class Needs:
    """What a step of reading or answering takes of a machine, as far as it can be predicted.

    Attributes:
        n_bytes: Memory beside the weights.
        flops: Floating-point operations.
        n_written: Tokens written, one after the other.
    """

    n_bytes: int = 0
    flops: int = 0
    n_written: int = 0


@dataclass
class Method(ABC):
    """Read a document once, answer many questions about it, and report the cost.

    A subclass is a dataclass whose other fields are its hyper-parameters, each with the source of
    its value. It says what it keeps of a document (`keep`), what the decoder then reads (`prompt`)
    and how many positions that takes (`positions`). One that decodes in its own way gives another
    `decoder`, or overrides `answer` and `score`.

    Attributes:
        pair: The pair whose decoder, encoder, chunker and prompt every method uses.
        role: What it is in a comparison: "floor", "ceiling", "equal budget", or "" for a method of
            its own.
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
        return Reading(kept, engine, seconds, self.encoding_flops(text) if self.encodes else 0)

    def answer(self, reading: Reading, question: str, max_new_tokens: int) -> Result:
        """Answer a question greedily.

        Raises:
            WindowError: The prompt does not fit the decoder's window.
        """
        start_s = time.perf_counter()
        prompt = self.prompt(reading.kept, question, max_new_tokens)
        generation = TimedGeneration()
        with evaluating(self.pair.base):
            text = "".join(
                reading.engine.stream(self.embed(prompt), Sampling(max_new_tokens), generation)
            ).strip()
        total_s = time.perf_counter() - start_s
        # An answer of no tokens has no first one, and counts as a whole.
        first_s = generation.first_s - start_s if generation.n_tokens else total_s
        n_prompt, n_reused = len(prompt.ids), generation.n_reused
        n_soft = 0 if prompt.soft_tokens is None else len(prompt.soft_tokens)
        # The encoder reads the question too, to rank chunks; what stood in the cache costs nothing.
        flops = self.encoding_flops(question) if self.encodes else 0
        flops += decoder_flops(self.decoder, n_prompt - n_reused, n_reused)
        flops += writing_flops(self.decoder, n_prompt, generation.n_tokens)
        counts = (n_prompt, n_soft, n_reused, generation.n_tokens)
        return Result(text, *counts, first_s, total_s, flops)

    @torch.inference_mode()
    def score(self, reading: Reading, question: str, answer: str) -> Tensor:
        """Return the nats of each token of a given answer, (n_answer_tokens,) float32.

        Their mean is the log perplexity.

        Raises:
            WindowError: Prompt and answer do not fit the decoder's window.
        """
        ids = self.pair.processor.text_ids(answer_text(self.pair.processor, answer))
        prompt = self.prompt(reading.kept, question, len(ids))
        embeddings = self.embed(Prompt(prompt.ids + ids, prompt.soft_tokens))  # (seq, d_dec)
        with evaluating(self.pair.base):
            output = self.decoder(
                inputs_embeds=embeddings[None], use_cache=False, logits_to_keep=len(ids) + 1
            )
        # The token before the answer says its first one; what the last token says is past its end.
        logits = output.logits[0, :-1]  # (n_answer_tokens, vocab)
        wanted = torch.tensor(ids, device=logits.device)  # (n_answer_tokens,)
        return F.cross_entropy(logits.float(), wanted, reduction="none").cpu()

    def needs(self, n_tokens: int, max_new_tokens: int) -> list[Needs]:
        """Predict what a document of `n_tokens` tokens and one answer take, step by step.

        Raises:
            WindowError: They do not fit the decoder's window.
        """
        positions = self.positions(n_tokens) + AROUND
        check_window(positions + max_new_tokens, self.window)
        flops = decoder_flops(self.decoder, positions)
        if self.encodes:
            # A multiplication and an addition for every weight and token.
            flops += 2 * n_tokens * linear_weights(self.pair.base.encoder)
        n_bytes = decoder_bytes(self.decoder, positions + max_new_tokens)
        return [Needs(n_bytes, flops, max_new_tokens)]

    def encoding_flops(self, text: str, chunker: SpanMaker | None = None) -> int:
        """Count the operations of the encoder on a text; the adapter, which is small, is left out.

        Args:
            text: The text.
            chunker: What cuts it; None for the method's own.
        """
        pair, spans = self.pair, make_spans(text, chunker or self.chunker)
        rows = pair.processor.encoder_rows(text, spans, pair.config.window_chunks)
        return encoder_flops(pair.base.encoder, [len(row.input_ids) for row in rows])

    def embed(self, prompt: Prompt) -> Tensor:
        """Return a prompt's input embeddings, (seq, d_dec)."""
        with torch.inference_mode():
            ids = torch.tensor([prompt.ids], device=self.decoder.device)  # (1, seq)
            if prompt.soft_tokens is None:
                return self.decoder.get_input_embeddings()(ids)[0]
            return self.pair.base.embed(ids, prompt.soft_tokens[None])[0]

    def text_prompt(
        self,
        passages: list[Passage],
        question: str,
        max_new_tokens: int,
        render: Render = render,
    ) -> Prompt:
        """Return the prompt that holds passages of the document as text.

        Without any, it is the question alone.

        Args:
            passages: What stands as text.
            question: The question.
            max_new_tokens: Room for the answer, in positions.
            render: As in `prompt_parts`; every method reads text that is rendered once.

        Raises:
            WindowError: It does not fit the decoder's window.
        """
        documents = [(NAME, 0)] if passages else []
        cue = answer_cue(self.pair.processor)
        parts = prompt_parts(question, documents, passages, soft=False, cue=cue, render=render)
        ids = self.pair.processor.prompt_ids(parts)
        check_window(len(ids) + max_new_tokens, self.window)
        return Prompt(ids)


def check_window(positions: int, window: int | None) -> None:
    """Raise `WindowError` where a decoder with this window cannot read so many positions."""
    if window is not None and positions > window:
        raise WindowError(
            f"window: it needs {positions:,} decoder positions and the decoder's window holds "
            f"{window:,}"
        )
