"""Tiny pairs whose decoder attends sharply.

As they are made, their attention is nearly uniform and a wrong one would hardly show.
"""

import torch

from e2llm.pair import E2LLM


def sharpen(pair: E2LLM) -> E2LLM:
    """Multiply the matrices of the decoder's layers in place.

    Positions and masks then decide what is written.
    """
    with torch.no_grad():
        for name, parameter in pair.model.decoder.named_parameters():
            if ".layers." in name and parameter.ndim == 2:
                parameter.mul_(10)
    return pair
