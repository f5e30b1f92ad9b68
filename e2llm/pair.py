"""A pair of text encoder and decoder-only LLM: load it, compress documents with it, ask them.

The public face; what each verb does lies in `compression`, `reading`, `engines` and `model`.
"""

import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from e2llm.chunking.chunker import Chunker, SpanMaker
from e2llm.chunking.semantic import SemanticChunker
from e2llm.compression.compressor import Compressor, Progress
from e2llm.documents.compressed import CompressedDocument
from e2llm.documents.source import Source
from e2llm.engines import Engine, Sampling
from e2llm.engines.transformers import TransformersEngine
from e2llm.errors import UserError
from e2llm.model import E2LLMConfig, E2LLMForCausalLM, E2LLMProcessor
from e2llm.model.assembling import assemble
from e2llm.model.checkpoint import load_pair, save_pair
from e2llm.model.devices import check_device, check_dtype
from e2llm.model.digest import fingerprint
from e2llm.pairs import find_pair
from e2llm.reading.answer import Answer, Stream, Usage
from e2llm.reading.conversation import Conversation, parse_messages
from e2llm.reading.plan import Plan
from e2llm.reading.planner import UNTRAINED_SOFT, Planner, UntrainedWarning
from e2llm.reading.ranking import RankedChunk
from e2llm.reading.ratio import fit_ratio
from e2llm.reading.reader import Reader, list_documents

if TYPE_CHECKING:
    from peft import PeftModel

__all__ = ["E2LLM", "Answer", "Stream", "UntrainedWarning", "Usage"]


class E2LLM:
    """A pair of text encoder and decoder-only LLM: compress documents once, ask them often.

    Attributes:
        model: The transformers model underneath.
        processor: The transformers processor underneath.
        name: Where the pair was loaded from.
        engine: What runs the decoder.

    Example:
        >>> model = E2LLM.from_pretrained("smol")  # doctest: +SKIP
        >>> document = model.compress(text, name="report", ratio=8)  # doctest: +SKIP
        >>> answer = model.ask("Who approved the budget?", [document])  # doctest: +SKIP
        >>> answer.text, answer.expanded, answer.usage  # doctest: +SKIP
    """

    def __init__(
        self,
        model: "E2LLMForCausalLM | PeftModel",
        processor: E2LLMProcessor,
        name: str = "",
        engine: Engine | None = None,
    ) -> None:
        self.model = model
        self.processor = processor
        self.name = name
        self.engine: Engine = engine or TransformersEngine(self.base.decoder, processor.tokenizer)
        self._warned = False

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str] = "smol",
        *,
        dtype: Any = None,
        device: str | None = None,
        **options: Any,
    ) -> "E2LLM":
        """Load a pair.

        Args:
            name: A folder, a hub name, or a shipped pair ("smol").
            dtype: torch dtype or its name; None for bfloat16 where the device multiplies it
                natively, else float32.
            device: "cpu", "cuda", ...; None for the accelerator that torch sees, else the CPU.
            options: Passed to transformers (`revision`, `token`, `device_map`,
                `quantization_config`, `trust_remote_code`, ...).

        Raises:
            UserError: There is no such pair, or a part of it cannot be loaded.
        """
        path = find_pair(str(name))
        if "device_map" not in options:  # which places the parts itself
            device = check_device(device)
        options["dtype"] = check_dtype(dtype, device)
        model, processor = load_pair(path, str(name), **options)
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
        device = check_device(device)
        options["dtype"] = check_dtype(dtype, device)
        model, processor = assemble(encoder, decoder, adapter=adapter, pooling=pooling, **options)
        return cls(model.to(device), processor)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save configuration, tokenizers, adapter and LoRA; the bases are stored by name."""
        save_pair(self.model, self.processor, path)

    @property
    def config(self) -> E2LLMConfig:
        """The pair's configuration."""
        return self.base.config

    @property
    def fingerprint(self) -> str:
        """Digest of what decides soft tokens; computed anew each time, in milliseconds."""
        return fingerprint(self.base, self.config)

    @property
    def compressor(self) -> Compressor:
        """What turns texts into compressed documents."""
        return Compressor(self.base, self.processor, self.fingerprint)

    @property
    def reader(self) -> Reader:
        """What goes from a question to a plan."""
        return Reader(self.compressor, Planner(self.config, self.processor))

    @property
    def chunker(self) -> Chunker:
        """The pair's default chunker."""
        return self.processor.chunker

    def semantic_chunker(
        self, size: int | None = None, percentile: float = SemanticChunker.percentile
    ) -> SemanticChunker:
        """Return a chunker that cuts where neighbouring sentences part in meaning.

        Args:
            size: The longest chunk, in characters; None for the pair's own.
            percentile: As in `SemanticChunker`.
        """
        size = self.chunker.size if size is None else size
        return SemanticChunker(self.compressor.embed, size, percentile)

    def compress(
        self,
        text: str | Source,
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
            text: Text of any length, or what `e2llm.read` makes of a file, which has its own name.
            name: What the document is called in prompts.
            ratio: Text tokens (the decoder's) per soft token, or "chunk" for one soft token per
                chunk (the paper); None for the pair's own.
            chunker: Any callable `text -> [(start, end), ...]`; None for the pair's own.
            window: Chunks that the encoder reads together (late chunking); None for the pair's own.
            page_starts: Offset of each page's first character, where there are pages.
            previous: A document of an earlier state of the text: only what is new is encoded.
            progress: Called after each block with how far the work has come.

        Raises:
            UserError: An argument breaks its rule.
            ReadError: The text is blank.
        """
        if not isinstance(text, Source):
            text = Source(name, text, tuple(page_starts))
        return self.compressor.compress(
            text,
            self.config.ratio if ratio is None else ratio,
            self.chunker if chunker is None else chunker,
            self.config.window_chunks if window is None else window,
            previous,
            progress,
        )

    def append(
        self, document: CompressedDocument, text: str, *, chunker: SpanMaker | None = None
    ) -> CompressedDocument:
        """Return the document with `text` at its end, as if the whole had been compressed.

        Only the new tail is encoded.

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
            raise UserError(
                f"`chunker` must be given: {document.name!r} was cut by a callable of your own."
            )
        grown, ratio, window = document.source(text), document.ratio, document.window
        return self.compressor.compress(grown, ratio, chunker, window, document)

    def ask(
        self,
        question: str,
        documents: CompressedDocument | Sequence[CompressedDocument] = (),
        expand: int | None = None,
        *,
        budget: int | None = None,
        whole: bool = False,
        turns: Sequence[tuple[str, str]] = (),
        refuse: bool = True,
        **sampling: Any,
    ) -> Answer:
        """Answer a question about zero, one or many compressed documents.

        A plan decides in which form each chunk stands in the prompt (`Answer.plan`), so that it
        keeps to a budget of decoder positions.

        Args:
            question: The question.
            documents: Compressed by this pair; their order is kept.
            expand: In place of a plan by budget: all soft tokens as they are stored, and so many
                of the best chunks expanded (read as text); 0 is the paper.
            budget: Decoder positions that the prompt may take; None the pair's default, or with
                `expand` the decoder's window.
            whole: Whether the question is about the whole (a summary): all is read as soft tokens.
            turns: Questions asked before of these documents, with their answers.
            refuse: Whether a sentence says what is not there (`Answer.found`); later turns aside.
            sampling: `max_new_tokens`, `temperature`, ... : the fields of `Sampling`.

        Raises:
            StaleDocumentError, WindowError: Another model made a document; or it does not fit.
        """
        planned = {"budget": budget, "whole": whole, "turns": turns, "refuse": refuse}
        return self.stream(question, documents, expand, **planned, **sampling).answer

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        documents: CompressedDocument | Sequence[CompressedDocument] = (),
        **options: Any,
    ) -> Answer:
        """Answer the last question of a conversation about documents.

        Args:
            messages: `{"role": "user" | "assistant", "content": text}` in turn.
            documents: As in `ask`.
            options: Those of `ask` but `expand` and `turns`.
        """
        turns, question = parse_messages(messages)
        return self.ask(question, documents, turns=turns, **options)

    def stream(
        self,
        question: str,
        documents: CompressedDocument | Sequence[CompressedDocument] = (),
        expand: int | None = None,
        **options: Any,
    ) -> Stream:
        """Answer as `ask` does, piece by piece; the prompt is checked before this returns."""
        start_s, refuse = time.perf_counter(), options.pop("refuse", True)
        planned = {own: options.pop(own) for own in ("budget", "whole", "turns") if own in options}
        n_new = (sampling := Sampling.of(**options)).max_new_tokens
        plan = self.plan(question, documents, expand, max_new_tokens=n_new, **planned)
        alone = not (planned.get("turns") or planned.get("whole"))
        found = self.reader.find(question, plan) if alone else None
        return Stream(self.base, self.engine, plan, sampling, start_s, found, refuse)

    def plan(
        self,
        question: str,
        documents: CompressedDocument | Sequence[CompressedDocument] = (),
        expand: int | None = None,
        budget: int | None = None,
        whole: bool = False,
        max_new_tokens: int = Sampling.max_new_tokens,
        turns: Sequence[tuple[str, str]] = (),
    ) -> Plan:
        """Decide what stands in the prompt of `ask`, without asking.

        Args:
            question, documents, expand, budget, whole, turns: As in `ask`.
            max_new_tokens: Room for the answer, in positions.

        Raises:
            UserError: As in `ask`, or an argument breaks its rule.
        """
        wanted = list_documents(documents)
        if wanted and not self.config.trained and (whole or expand == 0) and not self._warned:
            warnings.warn(UNTRAINED_SOFT, UntrainedWarning, stacklevel=4)
            self._warned = True
        asked = (turns, question, expand, budget, whole, max_new_tokens)
        return Conversation(self.reader, wanted).plan(*asked)

    @property
    def base(self) -> E2LLMForCausalLM:
        """The model without PEFT's wrapper."""
        model = self.model
        return model if isinstance(model, E2LLMForCausalLM) else model.get_base_model()

    def rank(self, question: str, documents: Sequence[CompressedDocument]) -> list[RankedChunk]:
        """Return every chunk of the documents, the best to expand first."""
        return self.reader.rank(question, documents)

    def fit_ratio(
        self,
        texts: Sequence[str],
        question: str = "",
        max_new_tokens: int = 256,
        expand: int | None = None,
        chunker: SpanMaker | None = None,
        **wanted: Any,
    ) -> float | str:
        """Return the ratio at which texts fit the decoder's window, before anything is read.

        The arguments, and what is raised: `reading.ratio.fit_ratio`.
        """
        expand = self.config.expand if expand is None else expand
        own = (texts, question, max_new_tokens, expand, chunker or self.chunker)
        return fit_ratio(self.config, self.processor, *own, **wanted)
