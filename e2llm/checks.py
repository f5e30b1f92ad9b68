"""Checks of arguments that several parts take."""

import difflib
import re
from collections.abc import Iterable, Sequence
from numbers import Integral

from e2llm.errors import UserError

# Names that an error lists; nobody reads more.
MOST_NAMES = 8
_SURROGATE = re.compile("[\ud800-\udfff]")


def check_ratio(ratio: float | str) -> float | str:
    """Return a ratio if it is one: text tokens per soft token, at least 1, or "chunk".

    Raises:
        UserError: It is none.
    """
    if ratio == "chunk":
        return ratio
    try:
        number = float(ratio)
    except (TypeError, ValueError):
        number = float("nan")
    if not 1 <= number < float("inf"):
        raise UserError(
            f'`ratio` (={ratio!r}) must be "chunk" or a number of text tokens per soft token, at '
            "least 1 (such as 4, 16 or 64)."
        )
    return number


def check_choice(
    argument: str, value: str, choices: Sequence[str], rest: str = "the documentation has them"
) -> str:
    """Return `value` if it is one of `choices`.

    Args:
        argument: What the user called it.
        value: What the user gave.
        choices: What it may be.
        rest: Where the others can be seen, should there be more than eight.

    Raises:
        UserError: It is none of them; the nearest is suggested.
    """
    if value in choices:
        return value
    nearest = difflib.get_close_matches(value, choices, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else "."
    raise UserError(f"`{argument}` (={value!r}) must be one of {name_some(choices, rest)}{hint}")


def name_some(names: Iterable[str], rest: str) -> str:
    """Join names with commas; of more than eight the first eight, and how many more there are.

    Args:
        names: The names.
        rest: Where the others can be seen, such as "the recipe has them".

    Example:
        >>> name_some("abcdefghij", "the alphabet has them")
        'a, b, c, d, e, f, g, h and 2 more (the alphabet has them)'
    """
    names = list(names)
    first, n_more = ", ".join(names[:MOST_NAMES]), len(names) - MOST_NAMES
    return f"{first} and {n_more:,} more ({rest})" if n_more > 0 else first


def check_count(argument: str, value: int, least: int, unit: str = "") -> int:
    """Return `value` if it is a whole number of at least `least`; raise `UserError` otherwise."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise UserError(
            f"`{argument}` (={value!r}) must be a whole number of at least "
            f"{least}{unit and ' ' + unit}."
        )
    return int(value)


def check_text(argument: str, value: str) -> str:
    """Return `value` if it is a text without halves of characters, which no tokenizer takes.

    Raises:
        UserError: It is something else.
    """
    if not isinstance(value, str):
        raise UserError(f"`{argument}` must be a text, and a {type(value).__name__} is given.")
    if bad := _SURROGATE.search(value):
        raise UserError(
            f"`{argument}` holds half a character (a lone surrogate) at {bad.start()}; decode "
            "its bytes with errors='replace'."
        )
    return value
