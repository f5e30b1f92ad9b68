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
from e2llm.compression.encoder_pass import EncoderPass
from e2llm.documents.compressed import CompressedDocument, document_key
from e2llm.documents.document_file import text_sha256
from e2llm.errors import ReadError, UserError
from e2llm.model import E2LLMForCausalLM, E2LLMProcessor
from e2llm.model.modeling import evaluating
from e2llm.model.rows import count_states, soft_counts, soft_ids

BLOCK_CHARS = 65_536
FIRST_BLOCK_CHARS = 8_192
# Measured: an adapter takes twice as long for 16,384 tokens at once as for 2,048 at a time, since
# every buffer is new memory.
ADAPTER_TOKENS, ADAPTER_GROUPS = 2_048, 256


@dataclass(frozen=True)
class Progress:
    """How far the reading of a text has come.

    Attributes:
        done_chars, total_chars: Characters read by now, and in all; what is reused counts as read.
        seconds: Since the start.
        left_s: Estimate of the seconds left, from the pace so far.
    """

    done_chars: int
    total_chars: int
    seconds: float
    left_s: float


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
        text: str,
        name: str,
        ratio: float | str,
        chunker: SpanMaker,
        window: int = 1,
        page_starts: Sequence[int] = (),
        previous: CompressedDocument | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> CompressedDocument:
        """Compress `text`; of what `previous` already holds, only the tail is encoded.

        Args:
            text: The whole text, at least one character that is not white space.
            name: What the document is called in prompts and in the library.
            ratio: Text tokens (the decoder's) per soft token, or "chunk".
            chunker: `text -> spans`.
            window: Chunks that the encoder reads together (late chunking).
            page_starts: Offsets of the pages' first characters.
            previous: An earlier state of the same growing text, compressed by the same model in the
                same way.
            progress: Called after each block.

        Raises:
            UserError: An argument breaks its rule.
            ReadError: The text is blank, or the encoder's tokenizer makes nothing of it.
        """
        ratio = check_ratio(ratio)
        _check_text(text, name, window, page_starts)
        spans = make_spans(text, chunker)
        blocks = self._blocks(text, spans, ratio, window, previous, progress)
        document = CompressedDocument(
            name=name,
            text=text,
            spans=np.asarray(spans, np.int64).reshape(-1, 2),  # (n_chunks, 2)
            n_soft_per_chunk=np.concatenate([block.n_soft for block in blocks]),  # (n_chunks,)
            n_tokens_per_chunk=np.concatenate([block.n_tokens for block in blocks]),  # (n_chunks,)
            embeddings=_join([block.embeddings for block in blocks]),  # (n_chunks, d_enc)
            soft_tokens=_join([blocks.pop(0).soft_tokens for _ in range(len(blocks))]),
            fingerprint=self.fingerprint,
            ratio=ratio,
            window=window,
            page_starts=tuple(page_starts),
            chunker=chunker if isinstance(chunker, Chunker) else None,
        )
        if not document.n_soft:
            raise ReadError(
                f"{name!r}: the encoder's tokenizer makes no token of this text; give it text in a "
                "script that the encoder knows."
            )
        return document

    def key(self, text: str, ratio: float | str, chunker: SpanMaker, window: int = 1) -> str:
        """Return the key of the document that `compress` makes, without making it."""
        spans = make_spans(text, chunker)
        return document_key(text_sha256(text), self.fingerprint, spans, window, ratio)

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
                block = self._read_block(document.text, spans[first:last], ratio, 1, 0.0)
            made += block.soft_tokens.split(block.n_soft.tolist())
        return made

    @property
    def _encoder(self) -> EncoderPass:
        return EncoderPass(self.model, self.processor, self.batch_tokens)

    def _embed(self, text: str, spans: Sequence[Span], prompt: str) -> Tensor:
        rows = self.processor.encoder_rows(text, spans, prompt=prompt)
        with evaluating(self.model):
            states = self._encoder.states(rows)  # (n_tokens, d_enc)
        return self._encoder.sentence_embeddings(rows, states, len(spans), whole_rows=True)

    def _blocks(
        self,
        text: str,
        spans: Sequence[Span],
        ratio: float | str,
        window: int,
        previous: CompressedDocument | None,
        progress: Callable[[Progress], None] | None,
    ) -> "list[_Block]":
        """Read the text block by block; what `previous` holds already is the first block."""
        kept = self._kept_chunks(previous, text, spans, ratio, window)
        blocks = [_reuse(previous, kept, ratio)] if previous is not None and kept else []
        owed = blocks[0].owed if blocks else 0.0
        start_s, start_chars = time.perf_counter(), spans[kept - 1][1] if kept else 0
        for first, last in block_bounds(spans, kept, window):
            with evaluating(self.model):
                blocks.append(self._read_block(text, spans[first:last], ratio, window, owed))
            owed = blocks[-1].owed
            if progress is not None:
                done, seconds = spans[last - 1][1], time.perf_counter() - start_s
                left = seconds * (len(text) - done) / max(1, done - start_chars)
                progress(Progress(done, len(text), seconds, left))
        return blocks

    def _read_block(
        self, text: str, spans: Sequence[Span], ratio: float | str, window: int, owed: float
    ) -> "_Block":
        rows = self.processor.encoder_rows(text, spans, window)
        n_tokens = self.processor.count_tokens(text, spans)  # (n_chunks,)
        n_states = count_states(rows, len(spans))  # (n_chunks,)
        n_soft, owed = soft_counts(n_tokens, n_states, ratio, owed)  # (n_chunks,)
        states = self._encoder.states(rows)  # (n_tokens, d_enc)
        own = soft_ids(rows, n_soft, self.processor.pool_special_tokens)
        ids = torch.from_numpy(np.concatenate([*own, np.zeros(0, np.int64)]))  # (n_tokens,)
        soft_tokens = self._adapt(states, ids.to(states.device), int(n_soft.sum()))
        # Only the mean over a chunk's own tokens is a sentence embedding of a chunk read among
        # others; the other poolings read it alone.
        alone = window > 1 and self.model.config.embedding_pooling != "mean"
        if alone:
            rows = self.processor.encoder_rows(text, spans)
            states = self._encoder.states(rows)
        whole = alone or window == 1
        embeddings = self._encoder.sentence_embeddings(rows, states, len(spans), whole)
        return _Block(soft_tokens.cpu(), embeddings, n_soft, n_tokens, owed)

    def _adapt(self, states: Tensor, ids: Tensor, n_soft: int) -> Tensor:
        """Return the block's soft tokens, made a few at a time.

        One long group (a line of asterisks) would pad all the others to its length.

        Shape:
            states (n_tokens, d_enc), ids (n_tokens,) -> (n_soft, d_dec)
        """
        states, ids = states[ids >= 0], ids[ids >= 0]  # those that feed a soft token, in order
        parts, start, first = [], 0, 0
        while first < n_soft:
            # The group that the first token beyond the budget belongs to is the next part's first,
            # unless it is this part's only one.
            beyond = start + ADAPTER_TOKENS
            last = max(first + 1, int(ids[beyond])) if beyond < len(ids) else n_soft
            last = min(last, first + ADAPTER_GROUPS)
            end = int(torch.searchsorted(ids, last))
            # (n_part, d_enc) -> (last - first, d_dec)
            parts.append(
                self.model.adapter(states[start:end], ids[start:end] - first, last - first)
            )
            start, first = end, last
        return torch.cat(parts) if parts else states.new_zeros(0, self.model.adapter.d_dec)

    def _kept_chunks(
        self,
        previous: CompressedDocument | None,
        text: str,
        spans: Sequence[Span],
        ratio: float | str,
        window: int,
    ) -> int:
        """Count the leading chunks whose soft tokens `previous` holds; whole windows only."""
        if previous is None or not text.startswith(previous.text):
            return 0
        made = (previous.fingerprint, previous.ratio, previous.window)
        if made != (self.fingerprint, ratio, window):
            return 0
        kept = 0
        for own, old in zip(spans, previous.spans.tolist(), strict=False):
            if own != tuple(old):
                break
            kept += 1
        return kept if kept == len(spans) == previous.n_chunks else kept // window * window


@dataclass(frozen=True)
class _Block:
    """What some chunks became.

    Attributes:
        soft_tokens: (n_soft, d_dec).
        embeddings: (n_chunks, d_enc).
        n_soft, n_tokens: (n_chunks,) soft tokens of each chunk, and decoder tokens of its text.
        owed: Rounding error to carry on, in soft tokens.
    """

    soft_tokens: Tensor
    embeddings: Tensor
    n_soft: np.ndarray
    n_tokens: np.ndarray
    owed: float


def _check_text(text: str, name: str, window: int, page_starts: Sequence[int]) -> None:
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


def _reuse(previous: CompressedDocument, kept: int, ratio: float | str) -> _Block:
    n_soft, n_tokens = previous.n_soft_per_chunk[:kept], previous.n_tokens_per_chunk[:kept]
    # Capped by the counts that it once gave, the rule gives them again, and with them the rounding
    # error to carry on.
    _, owed = soft_counts(n_tokens, n_soft, ratio)
    soft_tokens = previous.soft_tokens[: int(n_soft.sum())]
    return _Block(soft_tokens, previous.embeddings[:kept], n_soft, n_tokens, owed)


def _join(parts: list[Tensor]) -> Tensor:
    """Concatenate along the first axis, letting go of each part as soon as it is copied.

    So the whole never stands in memory twice.
    """
    whole = parts[0].new_empty(sum(map(len, parts)), *parts[0].shape[1:])
    end = len(whole)
    while parts:
        part = parts.pop()
        whole[end - len(part) : end] = part
        end -= len(part)
    return whole


def block_bounds(spans: Sequence[Span], first: int, window: int) -> Iterator[tuple[int, int]]:
    """Yield (first, last) chunk indices of blocks of whole windows, from chunk `first` on.

    The first block is small, so that an estimate comes early.
    """
    budget = FIRST_BLOCK_CHARS
    while first < len(spans):
        last = min(first + window, len(spans))
        while last < len(spans):
            wider = min(last + window, len(spans))
            if spans[wider - 1][1] - spans[first][0] > budget:
                break
            last = wider
        yield first, last
        first, budget = last, BLOCK_CHARS
