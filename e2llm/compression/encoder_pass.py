"""The encoder's pass over the rows of a text: token states, and sentence embeddings of chunks.

Rows are sorted by length and batched by a token budget, so that little of the work is padding.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from e2llm.model import E2LLMForCausalLM, E2LLMProcessor
from e2llm.model.rows import EncoderRow

# Measured on a CPU with bfloat16: 1,024 to 2,048 do equally well, above that the caches overflow;
# an accelerator wants more work at a time.
BATCH_TOKENS = {"cpu": 1_536}
BATCH_TOKENS_ACCELERATOR = 65_536


@dataclass(frozen=True)
class EncoderPass:
    """Run a pair's encoder over rows of tokens.

    Attributes:
        model, processor: The pair.
        batch_tokens: Encoder tokens per batch, padding included; None for what suits the device.
    """

    model: E2LLMForCausalLM
    processor: E2LLMProcessor
    batch_tokens: int | None = None

    def states(self, rows: Sequence[EncoderRow]) -> Tensor:
        """Return the states of all tokens of all rows, one after the other, (n_tokens, d_enc)."""
        lengths = [len(row.input_ids) for row in rows]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        device = self.model.encoder.device
        budget = self.batch_tokens or BATCH_TOKENS.get(device.type, BATCH_TOKENS_ACCELERATOR)
        pad = self.processor.encoder_tokenizer.pad_token_id or 0
        states = None
        for batch in length_batches(lengths, budget):
            shape = (len(batch), lengths[batch[-1]])  # (batch, chunk_len): the last is the longest
            ids, mask = torch.full(shape, pad), torch.zeros(shape, dtype=torch.bool)
            for place, row in enumerate(batch):
                ids[place, : lengths[row]] = torch.tensor(rows[row].input_ids)
                mask[place, : lengths[row]] = True
            encoded = self.model.encode(ids.to(device), mask.long().to(device))
            if states is None:  # made once the encoder has said how wide they are
                states = encoded.new_empty(int(starts[-1]), encoded.shape[-1])  # (n_tokens, d_enc)
            own = [np.arange(starts[row], starts[row] + lengths[row]) for row in batch]
            places = torch.from_numpy(np.concatenate(own))  # (n_real,): where the batch belongs
            # (batch, chunk_len, d_enc) without its padding -> (n_real, d_enc)
            states[places.to(device)] = encoded[mask.to(device)]
        if states is None:
            d_enc = self.model.adapter.pooling.d_enc
            return torch.zeros(0, d_enc, dtype=self.model.encoder.dtype)
        return states

    def sentence_embeddings(
        self, rows: Sequence[EncoderRow], states: Tensor, n_chunks: int, whole_rows: bool
    ) -> Tensor:
        """Pool each chunk's token states as its sentence-transformers folder says.

        Args:
            rows: What the encoder read.
            states: Of all their tokens, (n_tokens, d_enc).
            n_chunks: Chunks that the rows are of.
            whole_rows: Whether every token of a row counts for the row's chunk, special tokens
                included, as in sentence-transformers; else each counts for its own chunk.

        Returns:
            (n_chunks, d_enc) float32 on the CPU.
        """
        config = self.model.config
        if whole_rows:
            own = _whole_row_ids(rows, config.embedding_include_prompt)
        else:
            own = [row.chunk_ids for row in rows]
        chunk_ids = np.concatenate([*own, np.zeros(0, np.int64)])  # (n_tokens,), -1 for no chunk
        kept = np.flatnonzero(chunk_ids >= 0)  # (n_kept,)
        # Of the layers side by side the last alone is the sentence-transformers model's.
        last_layer = states[:, -self.model.encoder.config.get_text_config().hidden_size :]
        states = last_layer[torch.from_numpy(kept).to(states.device)].float().cpu()
        ids = torch.from_numpy(chunk_ids[kept].astype(np.int64))
        result = torch.zeros(n_chunks, states.shape[-1])  # (n_chunks, d_enc)
        if config.embedding_pooling == "mean":
            result.index_add_(0, ids, states)  # (n_kept, d_enc) -> (n_chunks, d_enc)
            result /= torch.bincount(ids, minlength=n_chunks).clamp(min=1)[:, None]
        elif config.embedding_pooling == "max":
            wide = ids[:, None].expand_as(states)  # (n_kept, d_enc)
            result.scatter_reduce_(0, wide, states, "amax", include_self=False)
        else:  # the first token of each chunk, or the last
            chunks, firsts = np.unique(chunk_ids[kept], return_index=True)
            lasts = np.append(firsts[1:], len(kept)) - 1
            places = firsts if config.embedding_pooling == "cls" else lasts
            result[torch.from_numpy(chunks.astype(np.int64))] = states[torch.from_numpy(places)]
        return F.normalize(result, dim=-1) if config.embedding_normalize else result


def length_batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Yield row indices in batches of similar length, each within the budget with its padding.

    A row that is longer than the budget is a batch of its own.
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
    """Give every token of a row the row's chunk.

    Where the prompt does not count, neither does what stands before it.
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
