"""Checks of arguments that several parts take."""

import difflib
from collections.abc import Sequence

from e2llm.errors import UserError


def check_ratio(ratio: float | str) -> float | str:
    """Return `ratio` if it is "chunk" or a number of at least 1 (text tokens per soft token); raise `UserError` otherwise."""
    if ratio == "chunk":
        return ratio
    try:
        number = float(ratio)
    except (TypeError, ValueError):
        number = float("nan")
    if not 1 <= number < float("inf"):
        raise UserError(f'`ratio` (={ratio!r}) must be "chunk" or a number of text tokens per soft token, at least 1 (such as 4, 16 or 64).')
    return number


def check_choice(argument: str, value: str, choices: Sequence[str]) -> str:
    """Return `value` if it is one of `choices`; otherwise raise `UserError` and suggest the nearest."""
    if value in choices:
        return value
    nearest = difflib.get_close_matches(value, choices, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else "."
    raise UserError(f"`{argument}` (={value!r}) must be one of {', '.join(choices)}{hint}")
