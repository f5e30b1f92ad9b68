"""Read a long text with the encoder and the adapter, once, in bounded memory (paper section 3.1).

The text goes through in blocks of a fixed number of characters, so that what is at work at a time
does not grow with its length; inside a block the encoder's inputs are sorted by length and batched
by a token budget, so that little of the work is padding.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from e2llm.checks import check_count, check_ratio, check_text
from e2llm.chunking.chunker import Chunker, Span, SpanMaker, make_spans
from e2llm.documents.compressed import CompressedDocument, document_key, text_sha256
from e2llm.errors import ReadError, UserError
from e2llm.model import E2LLMForCausalLM, E2LLMProcessor
from e2llm.model.modeling import evaluating
from e2llm.model.processing import EncoderRow, count_states

BLOCK_CHARS = 65_536
FIRST_BLOCK_CHARS = 8_192
# Measured on a CPU with bfloat16: 1,024 to 2,048 do equally well, above that the caches overflow;
# an accelerator wants more work at a time.
BATCH_TOKENS = {"cpu": 1_536}
BATCH_TOKENS_ACCELERATOR = 65_536
# Measured too: an adapter takes twice as long for 16,384 tokens at once as for 2,048 at a time,
# since every buffer is new memory.
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
        check_count("window", window, 1, "chunk")
        check_text("name", name)
        check_text(repr(name), text)
        if any(later < earlier for earlier, later in pairwise([0, *page_starts, len(text)])):
            raise UserError(
                f"`page_starts` (={list(page_starts)[:5]} ...) must ascend from 0 to at most "
                f"the length of the text (={len(text)})."
            )
        if not text.strip():
            raise ReadError(
                f"{name!r} holds no text, or only white space; give it some text to read."
            )
        spans = make_spans(text, chunker)
        kept = self._kept_chunks(previous, text, spans, ratio, window)
        blocks = [self._reuse(previous, kept, ratio)] if previous is not None and kept else []
        owed = blocks[0].owed if blocks else 0.0
        start_s, start_chars = time.perf_counter(), spans[kept - 1][1] if kept else 0
        for first, last in _blocks(spans, kept, window):
            with evaluating(self.model):
                blocks.append(self._read_block(text, spans[first:last], ratio, window, owed))
            owed = blocks[-1].owed
            if progress is not None:
                done, seconds = spans[last - 1][1], time.perf_counter() - start_s
                left = seconds * (len(text) - done) / max(1, done - start_chars)
                progress(Progress(done, len(text), seconds, left))
        document = CompressedDocument(
            name=name,
            text=text,
            spans=np.asarray(spans, np.int64).reshape(-1, 2),
            n_soft_per_chunk=np.concatenate([block.n_soft for block in blocks]),
            n_tokens_per_chunk=np.concatenate([block.n_tokens for block in blocks]),
            embeddings=_join([block.embeddings for block in blocks]),
            soft_tokens=_join([blocks.pop(0).soft_tokens for _ in range(len(blocks))]),
            fingerprint=self.fingerprint,
            ratio=ratio,
            window=window,
            page_starts=tuple(page_starts),
            chunker=chunker if isinstance(chunker, Chunker) else None,
        )
        if not document.n_soft:
            raise ReadError(
                f"{name!r}: the encoder's tokenizer makes no token of this text; give it text "
                "in a script that the encoder knows."
            )
        return document

    def key(self, text: str, ratio: float | str, chunker: SpanMaker, window: int = 1) -> str:
        """Return the key of the document that `compress` makes, without making it."""
        spans = make_spans(text, chunker)
        return document_key(text_sha256(text), self.fingerprint, spans, window, ratio)

    @torch.inference_mode()
    def embed(self, text: str, spans: Sequence[Span]) -> Tensor:
        """Return the encoder's sentence embedding of each span of a text, read alone, (n_spans,
        d_enc) float32.
        """
        rows = self.processor.encoder_rows(text, spans)
        with evaluating(self.model):
            return self._sentence_embeddings(rows, self._encode(rows), len(spans), whole_rows=True)

    @torch.inference_mode()
    def embed_question(self, question: str) -> Tensor:
        """Return the encoder's sentence embedding of a question, (d_enc,)."""
        rows = self.processor.encoder_rows(
            question, [(0, len(question))], prompt=self.model.config.query_prompt
        )
        with evaluating(self.model):
            return self._sentence_embeddings(rows, self._encode(rows), 1, whole_rows=True)[0]

    def _read_block(
        self, text: str, spans: Sequence[Span], ratio: float | str, window: int, owed: float
    ) -> "_Block":
        rows = self.processor.encoder_rows(text, spans, window)
        n_tokens = self.processor.count_tokens(text, spans)
        n_soft, owed = self.processor.soft_counts(
            n_tokens, count_states(rows, len(spans)), ratio, owed
        )
        states = self._encode(rows)
        soft_ids = torch.from_numpy(
            np.concatenate([*self.processor.soft_ids(rows, n_soft), np.zeros(0, np.int64)])
        )
        soft_tokens = self._adapt(states, soft_ids.to(states.device), int(n_soft.sum()))
        # Only the mean over a chunk's own tokens is a sentence embedding of a chunk read among
        # others; the other poolings read it alone.
        alone = window > 1 and self.model.config.embedding_pooling != "mean"
        if alone:
            rows = self.processor.encoder_rows(text, spans)
            states = self._encode(rows)
        embeddings = self._sentence_embeddings(
            rows, states, len(spans), whole_rows=alone or window == 1
        )
        return _Block(soft_tokens.cpu(), embeddings, n_soft, n_tokens, owed)

    def _adapt(self, states: Tensor, soft_ids: Tensor, n_soft: int) -> Tensor:
        """Return the block's soft tokens, a few at a time: one long group (a line of asterisks)
        would pad all the others to its length.
        """
        states, soft_ids = states[soft_ids >= 0], soft_ids[soft_ids >= 0]
        parts, start, first = [], 0, 0
        while first < n_soft:
            # The group that the first token beyond the budget belongs to is the next part's first,
            # unless it is this part's only one.
            beyond = start + ADAPTER_TOKENS
            next_first = max(first + 1, int(soft_ids[beyond])) if beyond < len(soft_ids) else n_soft
            next_first = min(next_first, first + ADAPTER_GROUPS)
            end = int(torch.searchsorted(soft_ids, next_first))
            parts.append(
                self.model.adapter(
                    states[start:end], soft_ids[start:end] - first, next_first - first
                )
            )
            start, first = end, next_first
        return torch.cat(parts) if parts else states.new_zeros(0, self.model.adapter.d_dec)

    def _encode(self, rows: Sequence[EncoderRow]) -> Tensor:
        """Return the states of all tokens of all rows, one after the other, (n_tokens, d_enc)."""
        lengths = [len(row.input_ids) for row in rows]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        device = self.model.encoder.device
        budget = self.batch_tokens or BATCH_TOKENS.get(device.type, BATCH_TOKENS_ACCELERATOR)
        states = torch.zeros(0)
        for batch in _batches(lengths, budget):
            longest = lengths[batch[-1]]
            ids = torch.full(
                (len(batch), longest), self.processor.encoder_tokenizer.pad_token_id or 0
            )
            mask = torch.zeros(len(batch), longest, dtype=torch.bool)
            for place, row in enumerate(batch):
                ids[place, : lengths[row]] = torch.tensor(rows[row].input_ids)
                mask[place, : lengths[row]] = True
            encoded = self.model.encode(ids.to(device), mask.long().to(device))
            if not len(states):
                states = encoded.new_empty(int(starts[-1]), encoded.shape[-1])
            places = torch.from_numpy(
                np.concatenate(
                    [np.arange(starts[row], starts[row] + lengths[row]) for row in batch]
                )
            )
            states[places.to(device)] = encoded[mask.to(device)]
        return (
            states
            if len(states)
            else torch.zeros(0, self.model.adapter.pooling.d_enc, dtype=self.model.encoder.dtype)
        )

    def _sentence_embeddings(
        self, rows: Sequence[EncoderRow], states: Tensor, n_chunks: int, whole_rows: bool
    ) -> Tensor:
        """Pool each chunk's token states as its sentence-transformers folder says, (n_chunks,
        d_enc) float32 on the CPU.

        With `whole_rows` every token of a row counts for the row's chunk, special tokens included,
        as in sentence-transformers.
        """
        own = (
            _whole_row_ids(rows, self.model.config.embedding_include_prompt)
            if whole_rows
            else [row.chunk_ids for row in rows]
        )
        chunk_ids = np.concatenate([*own, np.zeros(0, np.int64)])
        kept = np.flatnonzero(chunk_ids >= 0)
        last_layer = states[:, -self.model.encoder.config.get_text_config().hidden_size :]
        ids, states = (
            torch.from_numpy(chunk_ids[kept].astype(np.int64)),
            last_layer[torch.from_numpy(kept).to(states.device)].float().cpu(),
        )
        result = torch.zeros(n_chunks, states.shape[-1])
        pooling = self.model.config.embedding_pooling
        if pooling == "mean":
            result.index_add_(0, ids, states)
            result /= torch.bincount(ids, minlength=n_chunks).clamp(min=1)[:, None]
        elif pooling == "max":
            result.scatter_reduce_(
                0, ids[:, None].expand_as(states), states, "amax", include_self=False
            )
        else:
            chunks, firsts = np.unique(chunk_ids[kept], return_index=True)
            places = firsts if pooling == "cls" else np.append(firsts[1:], len(kept)) - 1
            result[torch.from_numpy(chunks.astype(np.int64))] = states[torch.from_numpy(places)]
        return F.normalize(result, dim=-1) if self.model.config.embedding_normalize else result

    def _kept_chunks(
        self,
        previous: CompressedDocument | None,
        text: str,
        spans: Sequence[Span],
        ratio: float | str,
        window: int,
    ) -> int:
        """Count the leading chunks whose soft tokens `previous` already holds; whole windows only."""
        if previous is None or (previous.fingerprint, previous.ratio, previous.window) != (
            self.fingerprint,
            ratio,
            window,
        ):
            return 0
        if not text.startswith(previous.text):
            return 0
        kept = 0
        for own, old in zip(spans, previous.spans.tolist(), strict=False):
            if own != tuple(old):
                break
            kept += 1
        return kept if kept == len(spans) == previous.n_chunks else kept // window * window

    def _reuse(self, previous: CompressedDocument, kept: int, ratio: float | str) -> "_Block":
        n_soft, n_tokens = previous.n_soft_per_chunk[:kept], previous.n_tokens_per_chunk[:kept]
        # Capped by the counts that it once gave, the rule gives them again, and with them the
        # rounding error to carry on.
        _, owed = self.processor.soft_counts(n_tokens, n_soft, ratio)
        return _Block(
            previous.soft_tokens[: int(n_soft.sum())],
            previous.embeddings[:kept],
            n_soft,
            n_tokens,
            owed,
        )


@dataclass(frozen=True)
class _Block:
    soft_tokens: Tensor
    embeddings: Tensor
    n_soft: np.ndarray
    n_tokens: np.ndarray
    owed: float


def _join(parts: list[Tensor]) -> Tensor:
    """Concatenate along the first axis and let go of each part as soon as it is copied: the whole
    never stands in memory twice.
    """
    whole = parts[0].new_empty(sum(map(len, parts)), *parts[0].shape[1:])
    end = len(whole)
    while parts:
        part = parts.pop()
        whole[end - len(part) : end] = part
        end -= len(part)
    return whole


def _blocks(spans: Sequence[Span], first: int, window: int) -> Iterator[tuple[int, int]]:
    """Yield (first, last) chunk indices of blocks of whole windows; the first block is small, so
    that an estimate comes early.
    """
    budget = FIRST_BLOCK_CHARS
    while first < len(spans):
        last = min(first + window, len(spans))
        while (
            last < len(spans)
            and spans[min(last + window, len(spans)) - 1][1] - spans[first][0] <= budget
        ):
            last = min(last + window, len(spans))
        yield first, last
        first, budget = last, BLOCK_CHARS


def _batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Yield row indices in batches of similar length, each at most `budget` tokens with its padding
    (one row at the least).
    """
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[row] > budget:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _whole_row_ids(rows: Sequence[EncoderRow], with_prompt: bool) -> list[np.ndarray]:
    """Give every token of a row the row's chunk; where the prompt does not count, neither does what
    stands before it.
    """
    ids, chunk = [], -1
    for row in rows:
        chunk = row.head if row.head >= 0 else chunk
        own = np.full(len(row.input_ids), chunk)
        prompt = np.flatnonzero(~row.special & (row.chunk_ids < 0))
        if not with_prompt and len(prompt):
            own[: prompt[-1] + 1] = -1
        ids.append(own)
    return ids
