"""Turn documents into encoder inputs and prompts into decoder ids: both tokenizers, no weights.

A prompt is built in segments. The placeholder of a soft token is an id out of vocabulary, and every
segment that a user or a document wrote is tokenised with special tokens split, so that no text can
become a placeholder or a chat marker.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise

import numpy as np
import torch
from jinja2 import TemplateError
from tokenizers import Tokenizer
from torch import Tensor
from transformers import BatchFeature, PreTrainedTokenizerBase, ProcessorMixin

from e2llm.chunking.chunker import Chunker, Span, SpanMaker, make_spans
from e2llm.errors import UserError
from e2llm.model.legibility import unknown_share
from e2llm.model.rows import EncoderRow, count_states, pad_rows, soft_counts, soft_ids
from e2llm.model.tokenizing import text_tokenizer

# A private-use character pair marks where the user's turn goes in the rendered chat template.
_TURN = "\ue000\ue001"


@dataclass(frozen=True)
class SoftTokens:
    """A prompt part that stands for `n_soft` soft tokens."""

    n_soft: int


class E2LLMProcessor(ProcessorMixin):
    """Hold the decoder's tokenizer and the encoder's, and build what the model reads.

    Args:
        tokenizer: The decoder's.
        encoder_tokenizer: The encoder's; a fast one.
        placeholder_id: Id of a soft token's placeholder, out of the decoder's vocabulary.
        encoder_max_tokens: Longest encoder input, special tokens included.
        pool_special_tokens: Whether the leading special token feeds a chunk's first soft token (the
            "cls" pooling).
        document_prompt: Text that the encoder expects before a chunk.
        chunk_chars, overlap_chars, window_chunks, ratio: Defaults, as in `E2LLMConfig`.
        chat_template: The decoder's, kept by the library's own convention.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        encoder_tokenizer: PreTrainedTokenizerBase,
        placeholder_id: int = 0,
        encoder_max_tokens: int = 512,
        pool_special_tokens: bool = False,
        document_prompt: str = "",
        chunk_chars: int = 512,
        overlap_chars: int = 0,
        window_chunks: int = 1,
        ratio: float | str = 8,
        chat_template: str | None = None,
    ) -> None:
        self.placeholder_id = placeholder_id
        self.encoder_max_tokens = encoder_max_tokens
        self.pool_special_tokens = pool_special_tokens
        self.document_prompt = document_prompt
        self.chunk_chars = chunk_chars
        self.overlap_chars = overlap_chars
        self.window_chunks = window_chunks
        self.ratio = ratio
        super().__init__(
            tokenizer, encoder_tokenizer, chat_template=chat_template or tokenizer.chat_template
        )

    @property
    def chunker(self) -> Chunker:
        """The default chunker."""
        return Chunker(self.chunk_chars, self.overlap_chars)

    def __call__(
        self,
        text: str | Sequence[str],
        documents: Sequence[Sequence[str]] | None = None,
        ratio: float | str | None = None,
        chunker: SpanMaker | None = None,
        return_tensors: str = "pt",
    ) -> BatchFeature:
        """Build the inputs of `E2LLMForCausalLM` for prompts, each over its own documents.

        The prompt is the plainest: soft tokens, then the text. What `E2LLM.ask` asks with is built
        by `reading.prompt.prompt_parts`.

        Args:
            text: One prompt per batch row; it becomes the user's turn, after the soft tokens of its
                documents.
            documents: For each row the texts of its documents; None for none at all.
            ratio: Text tokens per soft token, or "chunk".
            chunker: In place of the default one.
            return_tensors: "pt".

        Returns:
            `input_ids`, `attention_mask` (batch, seq; padded on the left), and where there are
            documents `chunk_input_ids`, `chunk_attention_mask`, `chunk_soft_ids` (batch, n_chunks,
            chunk_len).
        """
        texts = [text] if isinstance(text, str) else list(text)
        if not texts:
            raise UserError("`text` must hold at least one prompt.")
        documents = [[] for _ in texts] if documents is None else documents
        if len(documents) != len(texts) or any(isinstance(own, str) for own in documents):
            raise UserError(
                f"`documents` must be one list of texts per prompt ({len(texts)} here), such as "
                "[[document], [document, another]]."
            )
        wanted = self.ratio if ratio is None else ratio
        prompts, batch_rows, batch_soft_ids = [], [], []
        for prompt, own in zip(texts, documents, strict=True):
            rows, ids, counts = self._compressible(own, wanted, chunker or self.chunker)
            parts = [part for n_soft in counts for part in (SoftTokens(n_soft), "\n\n")]
            prompts.append(self.prompt_ids([*parts, prompt]))
            batch_rows.append(rows)
            batch_soft_ids.append(ids)
        inputs = dict(zip(("input_ids", "attention_mask"), self._pad_left(prompts), strict=True))
        if any(batch_rows):
            pad_id = self.encoder_tokenizer.pad_token_id or 0
            inputs |= pad_rows(batch_rows, batch_soft_ids, pad_id)
        return BatchFeature(inputs, tensor_type=return_tensors)

    def encoder_rows(
        self, text: str, spans: Sequence[Span], window: int = 1, prompt: str | None = None
    ) -> list[EncoderRow]:
        """Tokenise chunks for the encoder, a long one in pieces.

        Args:
            text, spans: The text and the chunks' places in it.
            window: Chunks per encoder input; above 1 is late chunking.
            prompt: Text to put before each input, in place of `document_prompt`.

        Returns:
            Rows in the order of the text; chunk ids count from 0 at `spans[0]`.
        """
        prompt = self.document_prompt if prompt is None else prompt
        if window > 1 and any(following[0] < before[1] for before, following in pairwise(spans)):
            raise UserError(
                f"`window` (={window}) above 1 needs chunks that do not overlap; set the "
                "overlap to 0."
            )
        chunk_ends = np.array([end for _, end in spans])
        rows: list[EncoderRow] = []
        bounds: list[tuple[int, int, int, int]] = []  # first and last chunk, first and last place
        for first in range(0, len(spans), window):
            last = min(first + window, len(spans)) - 1
            bounds.append((first, last, spans[first][0], spans[last][1]))
        texts = [prompt + text[start:end] for _, _, start, end in bounds]
        encoded = self._encoder_text.encode_batch(texts)
        for (first, last, start, _), encoding in zip(bounds, encoded, strict=True):
            for place, piece in enumerate([encoding, *encoding.overflowing]):
                if not piece.ids:
                    continue
                # A token belongs where its last character stands: byte-level tokens begin with the
                # white space before them.
                ends = np.asarray(piece.offsets).reshape(-1, 2)[:, 1]  # (chunk_len,)
                places = ends - 1 - len(prompt) + start
                special = np.asarray(piece.special_tokens_mask, bool)  # (chunk_len,)
                chunk_ids = np.searchsorted(chunk_ends, places, side="right").clip(first, last)
                chunk_ids[special | (places < start)] = -1
                head = -1 if place else first
                rows.append(EncoderRow(piece.ids, chunk_ids, special, head))
        return rows

    def count_tokens(self, text: str, spans: Sequence[Span]) -> np.ndarray:
        """Count the decoder's tokens of each chunk's text, (n_chunks,)."""
        encoded = self._decoder_text.encode_batch([text[start:end] for start, end in spans])
        return np.array([len(encoding.ids) for encoding in encoded], np.int64)

    def unknown_share(self, text: str) -> float:
        """Return the share of a text's letters that the encoder's tokenizer does not know."""
        return unknown_share(self._encoder_text, self.encoder_tokenizer.unk_token_id, text)

    def prompt_ids(self, parts: Sequence[str | SoftTokens]) -> list[int]:
        """Tokenise prompt parts as the user's turn of the decoder's chat template.

        A decoder without a template gets plain text.

        Args:
            parts: Text of users and documents, and soft tokens, in order.
        """
        before, after = self.turn_ids()
        ids = list(before)
        begins = not self.chat_template
        for is_text, group in groupby(parts, key=lambda part: isinstance(part, str)):
            if is_text:  # joined first, so that no token border is made where two texts meet
                ids += self.text_ids("".join(map(str, group)), begins)
            else:
                n_soft = sum(part.n_soft for part in group if isinstance(part, SoftTokens))
                ids += [self.placeholder_id] * n_soft
            begins = False
        return ids + after

    def text_ids(self, text: str, begins: bool = False) -> list[int]:
        """Tokenise text that somebody else wrote: nothing in it becomes a special token.

        Args:
            text: The text.
            begins: Whether it begins the prompt, before which a SentencePiece tokenizer puts a
                space.
        """
        return (self._decoder_text_begins if begins else self._decoder_text).encode(text).ids

    def turn_ids(self) -> tuple[list[int], list[int]]:
        """Return the ids before and after the user's text.

        They are the chat template's, or, without one, the tokenizer's own start of text.

        Raises:
            UserError: The template does not put the user's text into the prompt once, as it is.
        """
        if not self.chat_template:
            return self._bos(), []
        before, after = self._render("user").split(_TURN)
        return self._template_ids(before), self._template_ids(after)

    def later_turn_ids(self) -> list[int]:
        """Return the ids between the id that ends an answer and the user's next text.

        What else a template ends a turn with is part of them.

        Raises:
            UserError: As in `turn_ids`.
        """
        if not self.chat_template:
            return self.text_ids("\n\n")
        _, _, between, _ = self._render("user", "assistant", "user").split(_TURN)
        ids, end = self._template_ids(between), self.tokenizer.eos_token_id
        return ids[ids.index(end) + 1 :] if end in ids else ids

    def _compressible(
        self, documents: Sequence[str], ratio: float | str, chunker: SpanMaker
    ) -> tuple[list[EncoderRow], list[np.ndarray], list[int]]:
        """Return the rows of documents, what their tokens feed, and each one's soft tokens."""
        rows: list[EncoderRow] = []
        ids: list[np.ndarray] = []
        totals: list[int] = []
        for document in documents:
            spans = make_spans(document, chunker)
            own = self.encoder_rows(document, spans, self.window_chunks)
            n_tokens, n_states = self.count_tokens(document, spans), count_states(own, len(spans))
            counts, _ = soft_counts(n_tokens, n_states, ratio)  # (n_chunks,)
            for feeds in soft_ids(own, counts, self.pool_special_tokens):
                ids.append(np.where(feeds >= 0, feeds + sum(totals), -1))
            rows += own
            totals.append(int(counts.sum()))
        return rows, ids, totals

    def _render(self, *roles: str) -> str:
        """Render a conversation in which every turn says `_TURN`, up to where an answer begins."""
        # Most templates take the user's text as it is; some want it as a list of parts.
        for content in (_TURN, [{"type": "text", "text": _TURN}]):
            try:
                # Templates that can think aloud are asked not to; the others ignore the word.
                rendered = self.tokenizer.apply_chat_template(
                    [{"role": role, "content": content} for role in roles],
                    chat_template=self.chat_template,
                    tokenize=False,
                    add_generation_prompt=True,
                    enable_thinking=False,
                )
            except (TemplateError, TypeError):
                continue
            if rendered.count(_TURN) == len(roles):
                return str(rendered)
        what = "a user's message" if len(roles) == 1 else "each turn of a conversation"
        raise UserError(
            f"`chat_template`: the decoder's chat template does not put {what} into the "
            "prompt once, as it is; set another `chat_template` on the processor, or an "
            "empty one for a plain prompt."
        )

    def _template_ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"] if text else []

    def _bos(self) -> list[int]:
        ids = self.tokenizer("")["input_ids"]
        return ids[:1] if ids and ids[0] == self.tokenizer.bos_token_id else []

    @cached_property
    def _decoder_text(self) -> Tokenizer:
        return text_tokenizer(self.tokenizer, begins=False)

    @cached_property
    def _decoder_text_begins(self) -> Tokenizer:
        return text_tokenizer(self.tokenizer)

    @cached_property
    def _encoder_text(self) -> Tokenizer:
        tokenizer = text_tokenizer(self.encoder_tokenizer, special=True)
        tokenizer.enable_truncation(self.encoder_max_tokens)
        return tokenizer

    def _pad_left(self, prompts: list[list[int]]) -> tuple[Tensor, Tensor]:
        length = max(map(len, prompts))
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else 0
        ids = torch.full((len(prompts), length), pad)
        mask = torch.zeros(len(prompts), length, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids[row, length - len(prompt) :] = torch.tensor(prompt)
            mask[row, length - len(prompt) :] = 1
        return ids, mask
