"""The rules that numbers in a recipe keep."""

from e2llm.errors import UserError


def check_least(name: str, value: float, least: float) -> None:
    """Raise `UserError` unless a number is at least so large."""
    if not value >= least:
        raise UserError(f"`{name}` (={value!r}) must be at least {least}.")


def check_between(name: str, value: float, least: float, most: float) -> None:
    """Raise `UserError` unless a number lies between two others, or is one of them."""
    if not least <= value <= most:
        raise UserError(f"`{name}` (={value!r}) must lie between {least} and {most}.")


def check_chunks(chunks: tuple[int, ...]) -> None:
    """Raise `UserError` unless these are the fewest and the most chunks of a sample."""
    if len(chunks) != 2 or not 1 <= chunks[0] <= chunks[1]:
        raise UserError(
            f"`chunks` (={list(chunks)}) must be the fewest and the most chunks of a sample, "
            "such as [1, 8]."
        )
