"""The compressor: a long text becomes soft tokens, once, in bounded memory (paper section 3.1).

The text goes through in blocks of a fixed number of characters, so that what is at work at a time
does not grow with its length.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from e2llm.checks import check_count, check_ratio, check_text
from e2llm.chunking.chunker import Chunker, Span, SpanMaker, make_spans
from e2llm.compression.block import (
    BLOCK_CHARS,
    Block,
    BlockReader,
    block_bounds,
    join,
)
from e2llm.compression.earlier import Earlier
from e2llm.compression.encoder_pass import EncoderPass
from e2llm.documents.compressed import CompressedDocument, document_key
from e2llm.documents.document_file import text_sha256
from e2llm.documents.source import Source, group_sources
from e2llm.errors import ReadError, UserError
from e2llm.model import E2LLMForCausalLM, E2LLMProcessor
from e2llm.model.modeling import evaluating


@dataclass(frozen=True)
class Progress:
    """How far the reading of a text has come.

    Attributes:
        done_chars, total_chars: Characters read by now, and in all; what is reused counts as read.
        seconds: Since the start.
        left_s: Estimate of the seconds left, from the pace so far.
        new_chars: Characters that the encoder reads in all; the rest is reused.
    """

    done_chars: int
    total_chars: int
    seconds: float
    left_s: float
    new_chars: int


@dataclass(frozen=True)
class Compressor:
    """Turn texts into compressed documents with one model.

    Attributes:
        model, processor: The pair.
        fingerprint: The model's, from `fingerprint`; stored in every document.
        batch_tokens: Encoder tokens per batch, padding included; None for what suits the device.
    """

    model: E2LLMForCausalLM
    processor: E2LLMProcessor
    fingerprint: str
    batch_tokens: int | None = None

    @torch.inference_mode()
    def compress(
        self,
        source: Source,
        ratio: float | str,
        chunker: SpanMaker,
        window: int = 1,
        previous: CompressedDocument | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> CompressedDocument:
        """Compress a text; chunks that `previous` holds already are not encoded again.

        Args:
            source: The whole text, at least one character that is not white space, under the name
                that it has in prompts and in the library.
            ratio: Text tokens (the decoder's) per soft token, or "chunk".
            chunker: `text -> spans`.
            window: Chunks that the encoder reads together (late chunking).
            previous: A document of an earlier state of the text; it is used where the same model
                made it at the same ratio and window. A text that has only grown becomes what
                compressing the whole would make of it. Behind a change a chunk may have one soft
                token more or less than that; with `window` above 1 all behind it is encoded.
            progress: Called after each block.

        Raises:
            UserError: An argument breaks its rule.
            ReadError: The text is blank, or the encoder's tokenizer makes nothing of it.
        """
        ratio = check_ratio(ratio)
        _check_source(source, window)
        wanted = (self.fingerprint, ratio, window)
        if previous and (previous.fingerprint, previous.ratio, previous.window) == wanted:
            earlier = Earlier(previous, source, chunker)
            spans = earlier.spans
        else:
            earlier, spans = None, make_spans(source.text, chunker, source.record_starts)
        blocks = self._blocks(source.text, spans, ratio, window, earlier, progress)
        return self._document(source, spans, blocks, ratio, chunker, window)

    @torch.inference_mode()
    def compress_many(
        self,
        sources: Sequence[Source],
        ratio: float | str,
        chunker: SpanMaker,
        window: int = 1,
    ) -> Iterator[CompressedDocument]:
        """Yield the document of each text, in order; short texts pass the encoder together.

        Args:
            sources: Texts with their names and pages.
            ratio, chunker, window: As in `compress`.

        Raises:
            UserError, ReadError: As `compress`, once the documents before are out.
        """
        ratio = check_ratio(ratio)
        # Chunks that are read together must be of one document.
        for group in group_sources(sources, BLOCK_CHARS if window == 1 else 0):
            if len(group) == 1:
                (source,) = group
                yield self.compress(source, ratio, chunker, window)
                continue
            for source in group:
                _check_source(source, window)
            yield from self._compress_together(group, ratio, chunker)

    def _compress_together(
        self, group: Sequence[Source], ratio: float | str, chunker: SpanMaker
    ) -> Iterator[CompressedDocument]:
        """Read short texts as one block, in which none of them carries a rounding error on."""
        spans = [make_spans(own.text, chunker, own.record_starts) for own in group]
        starts = np.cumsum([0, *(len(source.text) for source in group)]).tolist()
        ends = np.cumsum([len(own) for own in spans]).tolist()  # in chunks
        joined = [
            (first + start, last + start)
            for start, own in zip(starts, spans, strict=False)
            for first, last in own
        ]
        text = "".join(source.text for source in group)
        with evaluating(self.model):
            block = self._reader.read(text, joined, ratio, 1, 0.0, ends)
        for source, own, end in zip(group, spans, ends, strict=True):
            part = block.part(end - len(own), end)
            yield self._document(source, own, [part], ratio, chunker, 1)

    def _document(
        self,
        source: Source,
        spans: Sequence[Span],
        blocks: list[Block],
        ratio: float | str,
        chunker: SpanMaker,
        window: int,
    ) -> CompressedDocument:
        document = CompressedDocument(
            name=source.name,
            text=source.text,
            spans=np.asarray(spans, np.int64).reshape(-1, 2),  # (n_chunks, 2)
            n_soft_per_chunk=np.concatenate([block.n_soft for block in blocks]),  # (n_chunks,)
            n_tokens_per_chunk=np.concatenate([block.n_tokens for block in blocks]),  # (n_chunks,)
            embeddings=join([block.embeddings for block in blocks]),  # (n_chunks, d_enc)
            soft_tokens=join([blocks.pop(0).soft_tokens for _ in range(len(blocks))]),
            fingerprint=self.fingerprint,
            ratio=ratio,
            window=window,
            page_starts=source.page_starts,
            unit=source.unit,
            notices=source.notices,
            chunker=chunker if isinstance(chunker, Chunker) else None,
            unknown_share=self.processor.unknown_share(source.text),
        )
        if not document.n_soft:
            raise ReadError(
                f"{source.name!r}: the encoder's tokenizer makes no token of this text; give it "
                "text in a script that the encoder knows."
            )
        return document

    def key(self, source: Source, ratio: float | str, chunker: SpanMaker, window: int = 1) -> str:
        """Return the key of the document that `compress` makes, without making it."""
        spans = make_spans(source.text, chunker, source.record_starts)
        return document_key(text_sha256(source.text), self.fingerprint, spans, window, ratio)

    @torch.inference_mode()
    def embed(self, text: str, spans: Sequence[Span]) -> Tensor:
        """Return the encoder's sentence embedding of each span, read alone.

        Shape:
            n_spans spans -> (n_spans, d_enc) float32
        """
        return self._embed(text, spans, self.processor.document_prompt)

    @torch.inference_mode()
    def embed_question(self, question: str) -> Tensor:
        """Return the encoder's sentence embedding of a question, (d_enc,)."""
        return self._embed(question, [(0, len(question))], self.model.config.query_prompt)[0]

    @torch.inference_mode()
    def soften(
        self, document: CompressedDocument, chunks: Sequence[int], ratio: float | str
    ) -> list[Tensor]:
        """Return soft tokens of some of a document's chunks at another ratio than it was made at.

        Each chunk is read alone: some thirty take the encoder half a second.

        Args:
            document: Compressed by this model.
            chunks: Indices of the chunks.
            ratio: Text tokens (the decoder's) per soft token, or "chunk".

        Returns:
            Of each chunk its soft tokens, (n_soft, d_dec).
        """
        spans = [(int(start), int(end)) for start, end in document.spans[list(chunks)]]
        made: list[Tensor] = []
        for first, last in block_bounds(spans, 0, 1):
            with evaluating(self.model):
                block = self._reader.read(document.text, spans[first:last], ratio, 1, 0.0)
            made += block.soft_tokens.split(block.n_soft.tolist())
        return made

    @property
    def _reader(self) -> BlockReader:
        return BlockReader(EncoderPass(self.model, self.processor, self.batch_tokens))

    def _embed(self, text: str, spans: Sequence[Span], prompt: str) -> Tensor:
        rows = self.processor.encoder_rows(text, spans, prompt=prompt)
        with evaluating(self.model):
            states = self._reader.encoder.states(rows)  # (n_tokens, d_enc)
        return self._reader.encoder.sentence_embeddings(rows, states, len(spans), whole_rows=True)

    def _blocks(
        self,
        text: str,
        spans: Sequence[Span],
        ratio: float | str,
        window: int,
        earlier: Earlier | None,
        progress: Callable[[Progress], None] | None,
    ) -> list[Block]:
        """Read the text block by block; what the earlier document holds is not read again."""
        runs = earlier.runs if earlier else [(0, len(spans), None)]
        new_chars = sum(
            spans[last - 1][1] - spans[first][0] for first, last, own in runs if own is None
        )
        blocks: list[Block] = []
        owed, read_chars, start_s = 0.0, 0, time.perf_counter()
        for start, end, places in runs:
            if earlier is not None and places is not None:
                blocks.append(earlier.block(places, owed))
                owed = blocks[-1].owed
                continue
            new = spans[start:end]
            for first, last in block_bounds(new, 0, window):
                with evaluating(self.model):
                    blocks.append(self._reader.read(text, new[first:last], ratio, window, owed))
                owed = blocks[-1].owed
                read_chars += new[last - 1][1] - new[first][0]
                if progress is not None:
                    done, seconds = new[last - 1][1], time.perf_counter() - start_s
                    left_s = seconds * (new_chars - read_chars) / max(1, read_chars)
                    progress(Progress(done, len(text), seconds, left_s, new_chars))
        return blocks


def _check_source(source: Source, window: int) -> None:
    text, name, page_starts = source.text, source.name, source.page_starts
    check_count("window", window, 1, "chunk")
    check_text("name", name)
    check_text(repr(name), text)
    if any(later < earlier for earlier, later in pairwise([0, *page_starts, len(text)])):
        raise UserError(
            f"`page_starts` (={list(page_starts)[:5]} ...) must ascend from 0 to at most the "
            f"length of the text (={len(text)})."
        )
    if not text.strip():
        raise ReadError(f"{name!r} holds no text, or only white space; give it some text to read.")
