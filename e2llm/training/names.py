"""Names in an error: at most eight, and where the others can be seen."""

from collections.abc import Iterable

MOST = 8


def shown(names: Iterable[str], rest: str) -> str:
    """Join names with commas; of more than eight, the first and how many more there are.

    Args:
        names: The names.
        rest: Where the others can be seen, such as "the recipe has them".
    """
    names = list(names)
    first, n_more = ", ".join(names[:MOST]), len(names) - MOST
    return f"{first} and {n_more:,} more ({rest})" if n_more > 0 else first
