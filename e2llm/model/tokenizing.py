"""Tokenizers in which text stays text: nothing in it becomes a special token.

The library's flag `split_special_tokens` splits only the tokens marked special, leaves Unigram
vocabularies and tokens such as `<tool_call>` alone, and is a switch that all users of one tokenizer
share. So private copies are made here, once, in which the control tokens cannot be written at all.
"""

import json
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from e2llm.errors import UserError


def text_tokenizer(
    tokenizer: PreTrainedTokenizerBase, special: bool = False, begins: bool = True
) -> Tokenizer:
    """Copy a fast tokenizer so that it reads text alone.

    Args:
        tokenizer: The one to copy.
        special: Whether it puts its special tokens around the text, as encoders want it.
        begins: Whether the text begins something; if not, a SentencePiece tokenizer puts no space
            before it.

    Raises:
        UserError: The tokenizer is not a fast one.
    """
    if not tokenizer.is_fast:
        raise UserError(
            f"`tokenizer` (={type(tokenizer).__name__}) is not a fast one; use a checkpoint "
            "with a tokenizer.json."
        )
    data = json.loads(tokenizer.backend_tokenizer.to_str())
    data["truncation"] = data["padding"] = None
    if not special:
        data["post_processor"] = None
    if not begins:
        for part in ("normalizer", "pre_tokenizer"):
            data[part] = _without_first_space(data[part])
    # For Unigram a list of pieces with their scores, for the others pieces with their ids.
    vocabulary = data["model"].get("vocab", {})
    unigram = data["model"].get("type") == "Unigram"
    known = {piece for piece, _ in vocabulary} if unigram else vocabulary.keys()
    kept, control = [], set()
    for token in data["added_tokens"]:
        # Runs of white space are ordinary text to the tokenizers that have tokens for them.
        if not token["special"] and not token["content"].strip():
            kept.append(token)
            continue
        control.add(token["content"])
        if token["content"] not in known:
            # It keeps its id, on which those of the tokens after it depend, under a name that no
            # document holds.
            renamed = {"content": _unwritable(token["id"]), "special": False, "normalized": False}
            kept.append({**token, **renamed})
    data["added_tokens"] = kept
    # Unigram has control tokens such as </s> among its ordinary pieces too.
    if unigram:
        data["model"]["vocab"] = [
            [_unwritable(index) if piece in control else piece, score]
            for index, (piece, score) in enumerate(vocabulary)
        ]
    return Tokenizer.from_str(json.dumps(data))


def _unwritable(index: int) -> str:
    """Return a name of characters that Unicode keeps out of every text."""
    return f"\ufdd0{index}\ufdd1"


def _without_first_space(part: Any) -> Any:
    """Take out of a normalizer or pre-tokenizer what puts a space before the text."""
    if part is None or part["type"] == "Prepend":
        return None
    if part["type"] == "Metaspace":
        return {**part, "prepend_scheme": "never", "add_prefix_space": False}
    if part["type"] == "ByteLevel":
        return {**part, "add_prefix_space": False}
    if part["type"] == "Sequence":
        name = "normalizers" if "normalizers" in part else "pretokenizers"
        return {
            **part,
            name: [inner for inner in map(_without_first_space, part[name]) if inner is not None],
        }
    return part
