"""CEPE (Yen et al. 2024, arXiv 2402.16617): the decoder attends to a small encoder's states.

The encoder reads the document chunk by chunk, and the states of all chunks are what every layer of
the decoder attends to (`decoders.cross_attention`). Encoder and cross-attention are trained, the
decoder is frozen. Not taken over: the authors' own small encoder (here it is the pair's, as it was
before any training with the decoder) and their warm-up on copying.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from e2llm.checks import check_count
from e2llm.chunking.chunker import Chunker, make_spans
from e2llm.compression.encoder_pass import BATCH_TOKENS, BATCH_TOKENS_ACCELERATOR, length_batches
from e2llm.methods.base import AROUND, Needs, Prompt, Reading, Result, check_window
from e2llm.methods.compression.base import TrainedReading
from e2llm.methods.decoders.cross_attention import (
    add_cross_attention,
    attending,
    check_decoder,
    cross_flops,
    memory_width,
)
from e2llm.methods.fitting.trainable import token_nats
from e2llm.model import bases
from e2llm.model.operations import decoder_bytes, decoder_flops, linear_weights, writing_flops
from e2llm.model.rows import EncoderRow
from e2llm.reading.prompt import Passage


@dataclass(frozen=True)
class _Kept:
    """The end of a document as text, and the encoder's states of the rest, (n_states, d_enc)."""

    tail: list[Passage]
    states: Tensor


@dataclass
class Cepe(TrainedReading):
    """Read the end of the document as text, and attend to the encoder's states of the rest.

    Nothing limits the length.

    Attributes:
        text_tokens: Tokens at the document's end that stand as text (the authors' chat model:
            2,048); at most half of the decoder's window.
        chunk_chars: Longest chunk that the encoder reads (1,024, which is about the authors' 256
            tokens); in pieces where it reads less at a time.
    """

    text_tokens: int = 2048
    chunk_chars: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("text_tokens", self.text_tokens, 1)
        check_count("chunk_chars", self.chunk_chars, 1, "character")
        check_decoder(self.pair.base.decoder)

    def build(self) -> "CepeModel":
        """Put the cross-attention into the pair's decoder, beside the pair's encoder."""
        config, own = self.pair.config, self.pair.base.encoder
        encoder = bases.load_encoder(
            str(config.encoder_name), revision=config.encoder_revision, dtype=own.dtype
        ).to(own.device)
        if getattr(encoder, "pooler", None) is not None:
            encoder.pooler = None  # no state passes through it
        return CepeModel(encoder, self.base_decoder())

    @property
    def chunker(self) -> Chunker:
        """What cuts the encoder's chunks."""
        return Chunker(self.chunk_chars)

    @property
    def window(self) -> None:
        """Nothing limits the document's length.

        The decoder's window must hold its end, the question and the answer.
        """
        return None

    def look(self, text: str) -> _Kept:
        """Encode the document up to its end."""
        head, tail = self._split(text, self._n_text)
        return _Kept(tail, self._states(head))

    def prompt(self, kept: Any, question: str, max_new_tokens: int) -> Prompt:
        """Return the document's end with the question after it."""
        prompt = self.text_prompt(kept.tail, question, max_new_tokens)
        check_window(len(prompt.ids) + max_new_tokens, self.pair.config.decoder_window)
        return prompt

    def positions(self, n_tokens: int) -> int:
        """Return the tokens of the document's end."""
        return min(n_tokens, self._n_text)

    def read(self, text: str) -> Reading:
        """Encode the document, once, and count what that takes."""
        reading = super().read(text)
        n_tail = sum(len(part.text) for part in reading.kept.tail)
        return replace(reading, flops=self.encoding_flops(text[: len(text) - n_tail]))

    def answer(self, reading: Reading, question: str, max_new_tokens: int) -> Result:
        """Answer a question greedily."""
        with self.model.attending(reading.kept.states):
            result = super().answer(reading, question, max_new_tokens)
        n_read = result.positions - result.n_reused
        # The last token that is written is never read.
        n_written = max(0, result.n_answer_tokens - 1)
        flops = decoder_flops(self._plain, n_read, result.n_reused)
        flops += writing_flops(self._plain, result.positions, result.n_answer_tokens)
        flops += self._cross_flops(n_read + n_written, len(reading.kept.states))
        return replace(result, flops=flops)

    def logits(self, kept: Any, question: str, ids: list[int]) -> Tensor:
        """Return the logits that say each token of an answer, (n_answer_tokens, vocab)."""
        with self.model.attending(kept.states):
            return super().logits(kept, question, ids)

    @property
    def text_share(self) -> float:
        """Half of the training (ours; the authors train on texts alone, 10 billion tokens)."""
        return 0.5

    def text_nats(self, text: str) -> Tensor:
        """Return the negative log-likelihood of the tokens at a text's end, but the first.

        They are read beside the encoder's states of what stands before them.
        """
        n_half = len(self.pair.processor.text_ids(text)) // 2
        head, tail = self._split(text, max(2, min(self._n_text, n_half)))
        ids = self.pair.processor.text_ids(tail[0].text)
        inputs = torch.tensor([ids[:-1]], device=self.decoder.device)  # (1, seq)
        with self.model.attending(self._states(head)):
            logits = self.decoder(input_ids=inputs, use_cache=False).logits[0]  # (seq, vocab)
        return token_nats(logits, ids[1:])

    def needs(self, n_tokens: int, max_new_tokens: int) -> list[Needs]:
        """Predict time, and memory for the encoder's states, which grow with the document."""
        positions = self.positions(n_tokens) + AROUND
        check_window(positions + max_new_tokens, self.pair.config.decoder_window)
        # As if the encoder's tokenizer cut as the decoder's does.
        n_states = max(0, n_tokens - self._n_text)
        encoder = self.pair.base.encoder
        n_bytes = decoder_bytes(self._plain, positions + max_new_tokens)
        n_bytes += n_states * encoder.dtype.itemsize * memory_width(self._plain, _width(encoder))
        flops = 2 * n_states * linear_weights(encoder) + decoder_flops(self._plain, positions)
        flops += self._cross_flops(positions, n_states)
        return [Needs(n_bytes, flops, max_new_tokens)]

    def _states(self, text: str) -> Tensor:
        rows = self.pair.processor.encoder_rows(text, make_spans(text, self.chunker))
        return self.model.encode(rows)

    @property
    def _n_text(self) -> int:
        window = self.pair.config.decoder_window
        return self.text_tokens if window is None else min(self.text_tokens, window // 2)

    @property
    def _plain(self) -> Any:
        """The pair's decoder, whose sizes are those of the decoder without cross-attention."""
        return self.pair.base.decoder

    def _cross_flops(self, n_new: int, n_states: int) -> int:
        return cross_flops(self._plain, _width(self.pair.base.encoder), n_new, n_states)


class CepeModel(nn.Module):
    """An encoder, and a decoder whose layers attend to its states.

    Args:
        encoder: Text encoder; trained.
        decoder: A frozen decoder, whose layers are replaced by ones with a cross-attention.
    """

    def __init__(self, encoder: Any, decoder: Any) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        add_cross_attention(decoder, _width(encoder))

    def encode(self, rows: Sequence[EncoderRow]) -> Tensor:
        """Return the states of the text's own tokens of all rows in order, (n_states, d_enc)."""
        device = self.encoder.device
        if not rows:
            return torch.zeros(0, _width(self.encoder), device=device)
        budget = BATCH_TOKENS.get(device.type, BATCH_TOKENS_ACCELERATOR)
        states: dict[int, Tensor] = {}
        # Rows of similar lengths are read together, and put back in their order at the end.
        for batch in length_batches([len(row.input_ids) for row in rows], budget):
            # Each (length,)
            own = [torch.tensor(rows[row].input_ids, device=device) for row in batch]
            ids = nn.utils.rnn.pad_sequence(own, batch_first=True)  # (batch, chunk_len)
            ones = [torch.ones_like(each) for each in own]
            mask = nn.utils.rnn.pad_sequence(ones, batch_first=True)  # (batch, chunk_len)
            # (batch, chunk_len, d_enc)
            encoded = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
            for place, row in enumerate(batch):
                # Special tokens stand for no text: (length,)
                of_text = torch.from_numpy(rows[row].chunk_ids >= 0).to(device)
                states[row] = encoded[place, : len(own[place])][of_text]  # (n_own, d_enc)
        return torch.cat([states[row] for row in range(len(rows))])  # (n_states, d_enc)

    def attending(self, states: Tensor) -> AbstractContextManager[None]:
        """Let the decoder attend to an encoder's states, (n_states, d_enc)."""
        return attending(self.decoder, states)


def _width(encoder: Any) -> int:
    return encoder.config.get_text_config().hidden_size
