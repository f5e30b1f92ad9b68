"""Compress documents and ask them: the public face of a pair."""

import logging
import math
import os
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from torch.nn import functional as F

from e2llm.checks import check_count, check_ratio, check_text
from e2llm.chunking import Chunker, SpanMaker, make_spans
from e2llm.compressing import Compressor, Progress, evaluating, fingerprint
from e2llm.documents.compressed import CompressedDocument
from e2llm.engines import Engine, Generation, Sampling
from e2llm.engines.transformers import TransformersEngine
from e2llm.errors import UserError, WindowError
from e2llm.model import E2LLMConfig, E2LLMForCausalLM, E2LLMProcessor, assembling, bases
from e2llm.pairs import find_pair
from e2llm.prompting import ExpandedChunk, answer_cue, join_neighbours, prompt_parts
from e2llm.semantic_chunking import SemanticChunker

logger = logging.getLogger(__name__)

# Recall of the answer's chunk among four, 240 SQuAD questions over documents of 16K tokens: 91.2 % with 0, 94.6 % with 0.3, 90.8 % with 1.
NEIGHBOUR_WEIGHT = 0.3
UNTRAINED_SOFT = "this pair is untrained: its soft tokens carry no meaning yet, so with `expand=0` the answer does not rest on the document."
UNTRAINED_LEFT_OUT = "this pair is untrained: its soft tokens are left out of the prompt, and the answer rests on the expanded chunks alone."


class UntrainedWarning(UserWarning):
    """The pair's adapter has not been trained."""


@dataclass(frozen=True)
class Usage:
    """What an answer cost.

    Attributes:
        positions: Decoder positions of the prompt.
        n_soft: Of these, soft tokens.
        n_reused: Of these, positions whose cache the question before had filled.
        n_answer_tokens: Tokens written.
        rank_s: Seconds to embed the question and rank the chunks.
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
        notices: What the reader should know: soft tokens left out, chunks that found no room.
    """

    text: str
    expanded: tuple[ExpandedChunk, ...]
    usage: Usage
    notices: tuple[str, ...] = ()


@dataclass
class Prompt:
    """What the decoder reads.

    Attributes:
        ids: With a placeholder where a soft token stands.
        soft_tokens: Those of all documents, (n_soft, d_dec); None where there are none to read.
        expanded: The chunks that stand as text, in the order of the documents.
        notices: What the asker should know, one line each.
    """

    ids: list[int]
    soft_tokens: Tensor | None
    expanded: tuple[ExpandedChunk, ...]
    notices: tuple[str, ...] = field(default=())


class Stream:
    """The pieces of an answer as the decoder writes them; `answer` is complete once they have ended."""

    def __init__(self, pieces: Generator[str, None, None]) -> None:
        self._pieces = pieces
        self._answer: Answer | None = None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._pieces)

    def close(self) -> None:
        """Stop the decoder; what it has not written is lost."""
        self._pieces.close()

    @property
    def answer(self) -> Answer:
        """The whole answer; what has not been read of the stream is read first."""
        for _ in self:
            pass
        if self._answer is None:
            raise UserError("`stream` ended before the answer was complete; ask again.")
        return self._answer


class E2LLM:
    """A pair of text encoder and decoder-only LLM that compresses documents once and answers questions about them.

    Attributes:
        model: The transformers model underneath.
        processor: The transformers processor underneath.
        name: Where the pair was loaded from.
        engine: What runs the decoder.

    Example:
        >>> model = E2LLM.from_pretrained("smol")  # doctest: +SKIP
        >>> document = model.compress(text, name="report", ratio=8)  # doctest: +SKIP
        >>> model.ask("Who approved the budget?", documents=[document], expand=4).text  # doctest: +SKIP
    """

    def __init__(self, model: E2LLMForCausalLM | PeftModel, processor: E2LLMProcessor, name: str = "", engine: Engine | None = None) -> None:
        self.model = model
        self.processor = processor
        self.name = name
        self.engine: Engine = engine or TransformersEngine(self.base.decoder, processor.tokenizer)
        self._warned = False

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str] = "smol", *, dtype: Any = None, device: str | None = None, **options: Any) -> "E2LLM":
        """Load a pair from a folder, a hub name, or by the name of a shipped one ("smol").

        Args:
            name: Folder, hub name, or shipped pair.
            dtype: torch dtype or its name; None for bfloat16 where the device multiplies it natively, else float32.
            device: "cpu", "cuda", ...; None for the accelerator that torch sees, else the CPU.
            options: Passed to transformers (`revision`, `token`, `device_map`, `quantization_config`, `trust_remote_code`, ...).

        Raises:
            UserError: There is no such pair, or a part of it cannot be loaded.
        """
        path = find_pair(str(name))
        if "device_map" not in options:
            device = _device(device)
        options["dtype"] = _dtype(dtype, device or bases.default_device())
        hub = bases.hub_options(options)
        try:
            if assembling.find_file(path, "config.json", **hub) is None:
                raise FileNotFoundError(path)
            config = E2LLMConfig.from_pretrained(path, **hub)
        except (OSError, ValueError) as error:
            raise UserError(f"`name` (={str(name)!r}) is no pair; name a folder that `e2llm pair` made, a hub name, or a shipped pair.") from error
        if config.model_type != E2LLMConfig.model_type:
            raise UserError(f"`name` (={str(name)!r}) is a {config.model_type} model, not a pair; make one with `e2llm pair ENCODER DECODER -o DIR`.")
        model = E2LLMForCausalLM.from_pretrained(path, config=config, **options)
        processor = assembling.load_processor(path, config, **hub)
        return cls(model.to(device) if device else model, processor, name=str(name))

    @classmethod
    def pair(
        cls,
        encoder: str,
        decoder: str,
        *,
        adapter: str = "mlp",
        pooling: str | None = None,
        dtype: Any = None,
        device: str | None = None,
        **options: Any,
    ) -> "E2LLM":
        """Make an untrained pair from any text encoder and any decoder-only LLM.

        Args:
            encoder, decoder: Folder, hub name, GGUF file (decoder), or `package:MODULE/PATH`.
            adapter: "linear", "mlp" (paper v1) or "vpma" (EMNLP version).
            pooling: "mean", "cls", "attention" or "tokens"; None for the adapter's own default.
            dtype, device: As in `from_pretrained`.
            options: Fields of `E2LLMConfig`, and options of transformers' `from_pretrained`.

        Raises:
            UserError: A part cannot be loaded, or a name is unknown.
        """
        device = _device(device)
        model, processor = assembling.assemble(encoder, decoder, adapter=adapter, pooling=pooling, dtype=_dtype(dtype, device), **options)
        return cls(model.to(device), processor)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save configuration, tokenizers, adapter and LoRA; the two bases are stored by name."""
        assembling.save_pair(self.model, self.processor, path)

    @property
    def config(self) -> E2LLMConfig:
        """The pair's configuration."""
        return self.base.config

    @property
    def fingerprint(self) -> str:
        """Digest of the weights and settings that decide soft tokens; computed anew each time, in milliseconds."""
        return fingerprint(self.base)

    @property
    def compressor(self) -> Compressor:
        """What turns texts into compressed documents."""
        return Compressor(self.base, self.processor, self.fingerprint)

    @property
    def chunker(self) -> Chunker:
        """The pair's default chunker."""
        return self.processor.chunker

    def semantic_chunker(self, size: int | None = None, percentile: float = SemanticChunker.percentile) -> SemanticChunker:
        """Return a chunker that cuts where neighbouring sentences part in meaning, as this pair's encoder has it.

        Args:
            size: The longest chunk, in characters; None for the pair's own.
            percentile: Part of the places between sentences, in percent, that is not cut unless a chunk would be too long.
        """
        return SemanticChunker(self.compressor.embed, self.chunker.size if size is None else size, percentile)

    def compress(
        self,
        text: str,
        name: str = "document",
        ratio: float | str | None = None,
        *,
        chunker: SpanMaker | None = None,
        window: int | None = None,
        page_starts: Sequence[int] = (),
        previous: CompressedDocument | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> CompressedDocument:
        """Compress a text once, to be asked many times.

        Args:
            text: Text of any length.
            name: What the document is called in prompts.
            ratio: Text tokens (the decoder's) per soft token, or "chunk" for one soft token per chunk (the paper); None for the pair's own.
            chunker: Any callable `text -> [(start, end), ...]`; None for the pair's own.
            window: Chunks that the encoder reads together (late chunking); None for the pair's own.
            page_starts: Offset of each page's first character, where there are pages.
            previous: An earlier state of the same growing text: only the new tail is encoded.
            progress: Called after each block with how far the work has come.

        Raises:
            UserError: An argument breaks its rule.
            ReadError: The text is blank.
        """
        return self.compressor.compress(
            text,
            name,
            self.config.ratio if ratio is None else ratio,
            self.chunker if chunker is None else chunker,
            self.config.window_chunks if window is None else window,
            page_starts,
            previous,
            progress,
        )

    def append(self, document: CompressedDocument, text: str, *, chunker: SpanMaker | None = None) -> CompressedDocument:
        """Return `document` with `text` added at its end, as if the whole had been compressed; only the new tail is encoded.

        Args:
            document: Compressed by this pair.
            text: What has arrived since.
            chunker: The callable that cut the document, where it was not a `Chunker`.

        Raises:
            StaleDocumentError: Another pair made the document.
            UserError: The document was cut by a plugged-in callable, and `chunker` is not given.
        """
        document.check_fingerprint(self.fingerprint)
        chunker = chunker or document.chunker
        if chunker is None:
            raise UserError(f"`chunker` must be given: {document.name!r} was cut by a callable of your own.")
        whole = document.text + text
        return self.compress(
            whole, document.name, document.ratio, chunker=chunker, window=document.window, page_starts=document.page_starts, previous=document
        )

    def ask(
        self, question: str, documents: CompressedDocument | Sequence[CompressedDocument] = (), expand: int | None = None, **sampling: Any
    ) -> Answer:
        """Answer a question about zero, one or many compressed documents.

        Args:
            question: The question.
            documents: Compressed by this pair; their order is kept.
            expand: Chunks to put back as text, ranked by the encoder's own sentence embedding; 0 is the paper, None the pair's default.
            sampling: `max_new_tokens`, `temperature`, `top_p`, `top_k`, `min_p`, `repetition_penalty`, `num_beams`, `seed` (see `Sampling`).

        Raises:
            StaleDocumentError: Another model made a document.
            WindowError: The prompt does not fit the decoder's window; the message offers a ratio that does.
        """
        return self.stream(question, documents, expand, **sampling).answer

    def stream(
        self, question: str, documents: CompressedDocument | Sequence[CompressedDocument] = (), expand: int | None = None, **sampling: Any
    ) -> Stream:
        """Answer as `ask` does, yielding the answer piece by piece; the prompt is checked before this returns."""
        start_s = time.perf_counter()
        documents = _documents(documents)
        options = _sampling(sampling)
        prompt = self.make_prompt(question, documents, self.config.expand if expand is None else expand, options.max_new_tokens)
        rank_s = time.perf_counter() - start_s
        generation = Generation()

        def pieces() -> Generator[str, None, None]:
            base = self.base
            with torch.inference_mode():
                ids = torch.tensor([prompt.ids], device=base.decoder.device)
                embeddings = base.embed(ids, None if prompt.soft_tokens is None else prompt.soft_tokens[None])[0]
            text, first_s = [], 0.0
            with evaluating(base):
                for piece in self.engine.stream(embeddings, options, generation):
                    first_s = first_s or time.perf_counter() - start_s
                    text.append(piece)
                    yield piece
            n_soft = 0 if prompt.soft_tokens is None else len(prompt.soft_tokens)
            total_s = time.perf_counter() - start_s
            usage = Usage(len(prompt.ids), n_soft, generation.n_reused, generation.n_tokens, rank_s, first_s or total_s, total_s)
            stream._answer = Answer("".join(text).strip(), prompt.expanded, usage, prompt.notices)

        stream = Stream(pieces())
        return stream

    @property
    def answers_cue(self) -> str:
        """What ends a prompt: nothing where a chat template does, else the word after which a base model answers."""
        return answer_cue(self.processor)

    @property
    def base(self) -> E2LLMForCausalLM:
        """The model without PEFT's wrapper."""
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

    def make_prompt(self, question: str, documents: list[CompressedDocument], expand: int, max_new_tokens: int) -> Prompt:
        """Build the prompt of `ask`: documents, the `expand` chunks that fit the question best, and the question.

        Raises:
            UserError: The question is blank, or `expand` is below 0.
            StaleDocumentError: Another model made a document.
            WindowError: The prompt and `max_new_tokens` do not fit the decoder's window, without chunks as text or with a single one.
        """
        if not check_text("question", question).strip():
            raise UserError("`question` is blank; ask something.")
        check_count("expand", expand, 0, "chunks; 0 reads soft tokens alone")
        fingerprint = self.fingerprint if documents else ""
        for document in documents:
            document.check_fingerprint(fingerprint)
        soft = self.config.trained or expand == 0
        notices = [] if self.config.trained or not documents else [UNTRAINED_LEFT_OUT if expand else UNTRAINED_SOFT]
        notices += [document.ratio_note for document in documents if soft and document.ratio_note]
        if documents and soft and not self.config.trained and not self._warned:
            warnings.warn(UNTRAINED_SOFT, UntrainedWarning, stacklevel=4)
            self._warned = True
        ranked = self.rank(question, documents)[:expand] if documents and expand else []
        window = self.config.decoder_window
        named = [(document.name, document.n_soft) for document in documents]

        def prompt_ids(n_expanded: int) -> list[int]:
            passages = join_neighbours(documents, [(which, index) for which, index, _ in ranked[:n_expanded]])
            return self.processor.prompt_ids(prompt_parts(question, named, passages, soft, self.answers_cue))

        # The prompt grows with the chunks that are expanded: the most of them that fit are found by halving.
        n_wanted = len(ranked)
        fewest, most = 0, n_wanted
        ids = prompt_ids(most)
        if window is not None and len(ids) + max_new_tokens > window:
            while fewest < most:
                middle = (fewest + most) // 2
                fewest, most = (middle + 1, most) if len(prompt_ids(middle + 1)) + max_new_tokens <= window else (fewest, middle)
            ids = prompt_ids(most)
            if len(ids) + max_new_tokens > window:
                raise WindowError(self._too_long(question, documents if soft else [], len(ids), max_new_tokens, window))
        ranked = ranked[:most]
        if n_wanted and not ranked and not soft:
            raise WindowError(f"`expand` (={expand}): not one chunk fits the decoder's window of {window} positions; compress with smaller chunks.")
        if len(ranked) < n_wanted:
            notices.append(f"{n_wanted - len(ranked)} of {n_wanted} chunks to expand found no room in the decoder's window of {window} positions.")
        expanded = tuple(_expanded(documents[which], index, score) for which, index, score in sorted(ranked))
        d_dec = int(self.base.get_input_embeddings().weight.shape[-1])  # type: ignore[index]
        for document in documents:
            if document.soft_tokens.shape[1] != d_dec:
                width = document.soft_tokens.shape[1]
                raise UserError(f"`documents`: {document.name!r} has soft tokens of width {width}, and the decoder's is {d_dec}; compress it again.")
        soft_tokens = torch.cat([document.soft_tokens for document in documents]) if documents and soft else None
        return Prompt(ids, soft_tokens, expanded, tuple(notices))

    def rank(self, question: str, documents: list[CompressedDocument]) -> list[tuple[int, int, float]]:
        """Return (document index, chunk index, score) of every chunk, the best to expand first.

        A chunk is ranked by its own similarity to the question and by a part of its better neighbour's: answers stand beside what names them.
        """
        wanted = self.compressor.embed_question(question)
        ranked = []
        for which, document in enumerate(documents):
            scores = document.embeddings.float() @ wanted
            padded = F.pad(scores, (1, 1), value=float(scores.min()))
            ranks = scores + NEIGHBOUR_WEIGHT * torch.maximum(padded[:-2], padded[2:])
            ranked += [(rank, which, index, score) for index, (rank, score) in enumerate(zip(ranks.tolist(), scores.tolist(), strict=True))]
        ranked.sort(key=lambda item: -item[0])
        return [(which, index, score) for _, which, index, score in ranked]

    def _too_long(self, question: str, documents: list[CompressedDocument], positions: int, max_new_tokens: int, window: int) -> str:
        total = f"the prompt takes {positions} positions and the answer up to {max_new_tokens}, and the decoder's window holds {window}"
        n_soft = sum(document.n_soft for document in documents)
        free = window - max_new_tokens - (positions - n_soft)
        if not n_soft or free < 1:
            n_question = len(self.processor.text_ids(question))
            return f"`question` (={n_question} tokens): {total}; shorten the question or lower `max_new_tokens`."
        ratio = fitting_ratio([document.n_tokens for document in documents], [document.n_chunks for document in documents], free)
        if ratio is None:
            return (
                f"`documents` (={n_soft} soft tokens): {total}; even one soft token per chunk is too much: ask fewer documents, or use larger chunks."
            )
        return f"`documents` (={n_soft} soft tokens): {total}; compress with a ratio of at least {ratio} ({free} positions are free)."

    def fit_ratio(
        self,
        texts: Sequence[str],
        question: str = "",
        max_new_tokens: int = 256,
        expand: int | None = None,
        chunker: SpanMaker | None = None,
        ratio: float | str | None = None,
        n_soft: int = 0,
        names: Sequence[str] = (),
    ) -> float | str:
        """Return the ratio to compress texts with so that all of them fit the decoder's window, before anything is read.

        Args:
            texts: The documents' texts, not compressed yet.
            question: The question that will be asked, if it is known.
            max_new_tokens: Room for the answer, in positions.
            expand: Chunks that will be put back as text; room is kept for them, or for as many as leave a ratio that fits.
            chunker: As in `compress`.
            ratio: The only ratio wanted; None for the pair's own or, where that is too low, the next of 4, 8, 16, ... or "chunk" that fits.
            n_soft: Soft tokens of documents that were compressed before and are asked together with these.
            names: What all the documents are called; their names stand in the prompt.

        Raises:
            WindowError: The wanted ratio, or every ratio, is too low; the message offers what fits. Or the question alone is too long.
        """
        wanted = check_ratio(self.config.ratio if ratio is None else ratio)
        window = self.config.decoder_window
        if window is None:
            return wanted
        alone = len(self.processor.prompt_ids([question]))
        if alone + max_new_tokens > window:
            raise WindowError(self._too_long(question, [], alone, max_new_tokens, window))
        expand = self.config.expand if expand is None else expand
        if expand and not self.config.trained:  # then the soft tokens are left out of the prompt
            return wanted
        spans = [make_spans(text, chunker or self.chunker) for text in texts]
        n_tokens = [int(self.processor.count_tokens(text, own).sum()) for text, own in zip(texts, spans, strict=True)]
        n_chunks = [len(own) for own in spans]
        per_chunk = math.ceil(sum(n_tokens) / max(1, sum(n_chunks)))
        # The text around the soft tokens; a place of some 32 tokens stands before every passage.
        around = prompt_parts(question or "?", [(name, 0) for name in names] or [("document", 0)], soft=True, cue=self.answers_cue)
        free = window - max_new_tokens - n_soft - len(self.processor.prompt_ids(around))
        for n_expanded in range(min(expand, sum(n_chunks)), -1, -1):
            fitting = fitting_ratio(n_tokens, n_chunks, free - n_expanded * (per_chunk + 32), least=wanted)
            if fitting is not None and (ratio is None or fitting == wanted):
                return fitting
        beside = f" beside the {n_soft} soft tokens of what was compressed before" if n_soft else ""
        if fitting is None:
            raise WindowError(
                f"`documents` (={sum(n_tokens)} tokens in {sum(n_chunks)} chunks): the decoder's window of {window} positions has {max(0, free)} "
                f"free{beside}, and even one soft token per chunk needs more; ask fewer documents, or use larger chunks."
            )
        n_wanted = n_soft_at(wanted, n_tokens, n_chunks)
        raise WindowError(
            f"`ratio` (={ratio}): {sum(n_tokens)} tokens make about {n_wanted} soft tokens, and the decoder's window of {window} positions "
            f"has {max(0, free)} free{beside}; use a ratio of {fitting}."
        )


def n_soft_at(ratio: float | str, n_tokens: Sequence[int], n_chunks: Sequence[int]) -> int:
    """Estimate the soft tokens of documents of so many decoder tokens and chunks at a ratio; the estimate is never too low by more than chance.

    Example:
        >>> n_soft_at(8, [800], [10]), n_soft_at(800, [800], [10])
        (101, 10)
    """
    if ratio == "chunk":
        return sum(n_chunks)
    # A chunk takes at least one, and rounding may add one to a document.
    return sum(max(math.ceil(tokens / float(ratio)) + 1, chunks) for tokens, chunks in zip(n_tokens, n_chunks, strict=True))


def fitting_ratio(n_tokens: Sequence[int], n_chunks: Sequence[int], free: int, least: float | str = 1) -> float | str | None:
    """Return the lowest ratio of `least`, 4, 8, 16, ... and "chunk" at which documents take at most `free` positions; None where none does.

    Args:
        n_tokens: Decoder tokens of each document's text.
        n_chunks: Chunks of each.
        free: Decoder positions left for soft tokens.
        least: The lowest ratio wanted.
    """
    steps = [] if least == "chunk" else [float(least), *(2.0**power for power in range(2, 12) if 2**power > float(least))]
    for ratio in steps:
        if n_soft_at(ratio, n_tokens, n_chunks) <= free:
            return int(ratio) if ratio == int(ratio) else ratio
    return "chunk" if sum(n_chunks) <= free else None


def _expanded(document: CompressedDocument, index: int, score: float) -> ExpandedChunk:
    chunk = document.chunks[index]
    return ExpandedChunk(chunk.text, document.name, chunk.start, chunk.end, index, round(score, 4), chunk.page)


def _documents(given: Any) -> list[CompressedDocument]:
    documents = [given] if isinstance(given, CompressedDocument) else list(given) if isinstance(given, list | tuple) else None
    if documents is None or not all(isinstance(document, CompressedDocument) for document in documents):
        raise UserError("`documents` must be compressed documents (`model.compress(text)`), one or a list of them.")
    return documents


def _sampling(options: dict[str, Any]) -> Sampling:
    unknown = options.keys() - Sampling.__dataclass_fields__.keys()
    if unknown:
        raise UserError(f"`{sorted(unknown)[0]}` is not a sampling option; use {', '.join(Sampling.__dataclass_fields__)}.")
    return Sampling(**options)


def _device(device: str | None) -> str:
    if device is None:
        return bases.default_device()
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f'`device` (={device!r}) cannot be used here ({str(error).splitlines()[0].rstrip(".")}); leave it out, or use "cpu".'
        ) from error
    return device


def _dtype(dtype: Any, device: str) -> Any:
    if isinstance(dtype, str) and dtype != "auto":
        found = getattr(torch, dtype, None)
        if not isinstance(found, torch.dtype):
            raise UserError(f'`dtype` (={dtype!r}) must name a torch dtype such as "float32" or "bfloat16".')
        return found
    return bases.default_dtype(device) if dtype is None else dtype
