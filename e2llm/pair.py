"""A pair of text encoder and decoder-only LLM: load it, compress documents with it, ask them.

The public face; what each verb does lies in `compression`, `reading`, `engines` and `model`.
"""

import os
import time
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from e2llm.checks import check_count, check_text
from e2llm.chunking.chunker import Chunker, SpanMaker
from e2llm.chunking.semantic import SemanticChunker
from e2llm.compression.compressor import Compressor, Progress
from e2llm.documents.compressed import CompressedDocument
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
from e2llm.reading.plan import UNTRAINED_SOFT, Planner, UntrainedWarning
from e2llm.reading.prompt import Prompt
from e2llm.reading.ranking import RankedChunk, rank_chunks
from e2llm.reading.ratio import fit_ratio
from e2llm.reading.unknown import note_unknown

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
        """Save configuration, tokenizers, adapter and LoRA; the two bases are stored by name."""
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
    def planner(self) -> Planner:
        """What decides which parts of documents stand in a prompt, and in which form."""
        return Planner(self.config, self.processor)

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
            percentile: Part of the places between sentences, in percent, that is not cut unless a
                chunk would be too long.
        """
        size = self.chunker.size if size is None else size
        return SemanticChunker(self.compressor.embed, size, percentile)

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
            ratio: Text tokens (the decoder's) per soft token, or "chunk" for one soft token per
                chunk (the paper); None for the pair's own.
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
        made = (document.name, document.ratio, chunker, document.window, document.page_starts)
        return self.compressor.compress(document.text + text, *made, previous=document)

    def ask(
        self,
        question: str,
        documents: CompressedDocument | Sequence[CompressedDocument] = (),
        expand: int | None = None,
        **sampling: Any,
    ) -> Answer:
        """Answer a question about zero, one or many compressed documents.

        Args:
            question: The question.
            documents: Compressed by this pair; their order is kept.
            expand: Chunks to expand (read as text), ranked by the encoder's own sentence
                embedding; 0 is the paper, None the pair's default.
            sampling: `max_new_tokens`, `temperature`, `top_p`, `top_k`, `min_p`,
                `repetition_penalty`, `num_beams`, `seed` (see `Sampling`).

        Raises:
            StaleDocumentError: Another model made a document.
            WindowError: The prompt does not fit the decoder's window; the message offers a ratio
                that does.
        """
        return self.stream(question, documents, expand, **sampling).answer

    def stream(
        self,
        question: str,
        documents: CompressedDocument | Sequence[CompressedDocument] = (),
        expand: int | None = None,
        **sampling: Any,
    ) -> Stream:
        """Answer as `ask` does, piece by piece; the prompt is checked before this returns."""
        start_s = time.perf_counter()
        wanted = _documents(documents)
        options = Sampling.of(**sampling)
        expand = self.config.expand if expand is None else expand
        prompt = self.make_prompt(question, wanted, expand, options.max_new_tokens)
        return Stream(self.base, self.engine, prompt, options, start_s)

    @property
    def base(self) -> E2LLMForCausalLM:
        """The model without PEFT's wrapper."""
        model = self.model
        return model if isinstance(model, E2LLMForCausalLM) else model.get_base_model()

    def make_prompt(
        self,
        question: str,
        documents: Sequence[CompressedDocument],
        expand: int,
        max_new_tokens: int,
    ) -> Prompt:
        """Build the prompt of `ask`; what it raises, `ask` does."""
        if not check_text("question", question).strip():
            raise UserError("`question` is blank; ask something.")
        check_count("expand", expand, 0, "chunks; 0 reads soft tokens alone")
        # Stale soft tokens are never read.
        own = self.fingerprint if documents else ""
        for document in documents:
            document.check_fingerprint(own)
            document.check_width(self.base.d_dec)
        if documents and not self.config.trained and not expand and not self._warned:
            warnings.warn(UNTRAINED_SOFT, UntrainedWarning, stacklevel=4)
            self._warned = True
        ranked = self.rank(question, documents) if documents and expand else []
        prompt = self.planner.plan(question, documents, ranked, expand, max_new_tokens).prompt
        return note_unknown(prompt, self.processor, question, documents)

    def rank(self, question: str, documents: Sequence[CompressedDocument]) -> list[RankedChunk]:
        """Return every chunk of the documents with its score, the best to expand first."""
        return rank_chunks(self.compressor, question, documents)

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
        """Return the ratio at which texts fit the decoder's window, before anything is read.

        Args:
            texts: The documents' texts, not compressed yet.
            question: The question that will be asked, if it is known.
            max_new_tokens: Room for the answer, in positions.
            expand: Chunks that will be expanded; room is kept for them, or for as many as leave a
                ratio that fits.
            chunker: As in `compress`.
            ratio: The only ratio wanted; None for the pair's own or, where that is too low, the
                next of 4, 8, 16, ... or "chunk" that fits.
            n_soft: Soft tokens of documents that were compressed before and are asked together with
                these.
            names: What all the documents are called; their names stand in the prompt.

        Raises:
            WindowError: The wanted ratio, or every ratio, is too low; the message offers what fits.
                Or the question alone is too long.
        """
        expand = self.config.expand if expand is None else expand
        chunker = chunker or self.chunker
        wanted = (texts, question, max_new_tokens, expand, chunker, ratio, n_soft, names)
        return fit_ratio(self.config, self.processor, *wanted)


def _documents(given: Any) -> list[CompressedDocument]:
    documents = [given] if isinstance(given, CompressedDocument) else given
    known = isinstance(documents, list | tuple)
    if not known or not all(isinstance(own, CompressedDocument) for own in documents):
        raise UserError(
            "`documents` must be compressed documents (`model.compress(text)`), one or a list of "
            "them."
        )
    return list(documents)
