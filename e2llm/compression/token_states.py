"""The encoder's states of single tokens, by which words of two texts are compared."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from e2llm.chunking.chunker import Span
from e2llm.compression.encoder_pass import EncoderPass
from e2llm.model import E2LLMForCausalLM, E2LLMProcessor
from e2llm.model.modeling import evaluating


class TokenStates(NamedTuple):
    """The tokens of a span, special tokens and prompts left out.

    Attributes:
        tokens: As the encoder's tokenizer writes them.
        states: The encoder's last layer, (n_tokens, d) float32 on the CPU.
    """

    tokens: list[str]
    states: Tensor


@torch.inference_mode()
def token_states(
    model: E2LLMForCausalLM,
    processor: E2LLMProcessor,
    text: str,
    spans: Sequence[Span],
    prompt: str,
) -> list[TokenStates]:
    """Return the token states of each span, read alone.

    Args:
        model, processor: The pair.
        text, spans: The text, and the places in it to read.
        prompt: Text that the encoder reads before each.
    """
    rows = processor.encoder_rows(text, spans, prompt=prompt)
    with evaluating(model):
        states = EncoderPass(model, processor).states(rows)  # (n_all, d_enc)
    # Of the layers side by side the last.
    width = model.encoder.config.get_text_config().hidden_size
    last = states[:, -width:].float().cpu()  # (n_all, d)
    chunk_ids = np.concatenate([*(row.chunk_ids for row in rows), np.zeros(0, np.int64)])
    tokens = processor.encoder_tokenizer.convert_ids_to_tokens(
        [token for row in rows for token in row.input_ids]
    )
    made = []
    for index in range(len(spans)):
        own = np.flatnonzero(chunk_ids == index)  # (n_tokens,)
        made.append(TokenStates([tokens[place] for place in own], last[torch.from_numpy(own)]))
    return made
