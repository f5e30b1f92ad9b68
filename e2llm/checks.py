"""Checks of arguments that several parts take."""

import difflib
import re
from collections.abc import Sequence
from numbers import Integral

from e2llm.errors import UserError

_SURROGATE = re.compile("[\ud800-\udfff]")


def check_ratio(ratio: float | str) -> float | str:
    """Return `ratio` if it is "chunk" or a number of at least 1 (text tokens per soft token); raise
    `UserError` otherwise.
    """
    if ratio == "chunk":
        return ratio
    try:
        number = float(ratio)
    except (TypeError, ValueError):
        number = float("nan")
    if not 1 <= number < float("inf"):
        raise UserError(
            f'`ratio` (={ratio!r}) must be "chunk" or a number of text tokens per soft token, at least 1 (such as 4, 16 or 64).'
        )
    return number


def check_choice(argument: str, value: str, choices: Sequence[str]) -> str:
    """Return `value` if it is one of `choices`; otherwise raise `UserError` and suggest the
    nearest.
    """
    if value in choices:
        return value
    nearest = difflib.get_close_matches(value, choices, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else "."
    raise UserError(f"`{argument}` (={value!r}) must be one of {', '.join(choices)}{hint}")


def check_count(argument: str, value: int, least: int, unit: str = "") -> int:
    """Return `value` if it is a whole number of at least `least`; raise `UserError` otherwise."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise UserError(
            f"`{argument}` (={value!r}) must be a whole number of at least "
            f"{least}{unit and ' ' + unit}."
        )
    return int(value)


def check_text(argument: str, value: str) -> str:
    """Return `value` if it is a text without halves of characters, which no tokenizer takes; raise
    `UserError` otherwise.
    """
    if not isinstance(value, str):
        raise UserError(f"`{argument}` must be a text, and a {type(value).__name__} is given.")
    if bad := _SURROGATE.search(value):
        raise UserError(
            f"`{argument}` holds half a character (a lone surrogate) at {bad.start()}; decode "
            "its bytes with errors='replace'."
        )
    return value
