"""The numbers of lists and clauses as they are drawn: "1.2", "(a)", "iv)"."""

from collections.abc import Callable, Sequence

_ROMAN = (
    (1000, "m"),
    (900, "cm"),
    (500, "d"),
    (400, "cd"),
    (100, "c"),
    (90, "xc"),
    (50, "l"),
    (40, "xl"),
    (10, "x"),
    (9, "ix"),
    (5, "v"),
    (4, "iv"),
    (1, "i"),
)
_CHINESE = "〇一二三四五六七八九"


def roman(number: int) -> str:
    """Return a number from 1 to 4999 in small Roman letters; others as digits.

    Example:
        >>> roman(14)
        'xiv'
    """
    if not 0 < number < 5000:
        return str(number)
    out = ""
    for value, letters in _ROMAN:
        out += letters * (number // value)
        number %= value
    return out


def letters(number: int) -> str:
    """Return a, b ... z, aa, bb ...; digits where that would be longer than eight letters.

    Example:
        >>> letters(28)
        'bb'
    """
    turns, letter = divmod(number - 1, 26)
    return chr(ord("a") + letter) * (turns + 1) if 0 <= turns < 8 else str(number)


def ordinal(number: int) -> str:
    """Return 1st, 2nd, 3rd ..."""
    tens = number % 100 in (11, 12, 13)
    return f"{number}" + ("th" if tens else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th"))


def chinese(number: int) -> str:
    """Return a number up to 99 as it is counted in Chinese and Japanese; others digit by digit."""
    tens, ones = divmod(number, 10)
    if not 0 < number < 100:
        return "".join(_CHINESE[int(digit)] if digit.isdigit() else digit for digit in str(number))
    head = "" if not tens else ("" if tens == 1 else _CHINESE[tens]) + "十"
    return head + (_CHINESE[ones] if ones else "")


def circled(number: int) -> str:
    """Return ① to ⑳; others as digits in parentheses."""
    return chr(0x245F + number) if 0 < number <= 20 else f"({number})"


# By the names of Word's formats; those of the others are put in their words.
FORMATS: dict[str, Callable[[int], str]] = {
    "decimal": str,
    "decimalZero": lambda number: f"{number:02}",
    "lowerLetter": letters,
    "upperLetter": lambda number: letters(number).upper(),
    "lowerRoman": roman,
    "upperRoman": lambda number: roman(number).upper(),
    "ordinal": ordinal,
    "chineseCounting": chinese,
    "chineseCountingThousand": chinese,
    "japaneseCounting": chinese,
    "taiwaneseCountingThousand": chinese,
    "ideographDigital": chinese,
    "decimalEnclosedCircle": circled,
    "decimalEnclosedCircleChinese": circled,
    "none": lambda number: "",
}


def count(counters: list[int | None], level: int, starts: Sequence[int]) -> None:
    """Count one more item at a level: those below begin anew, those above begin where they did not.

    Args:
        counters: The last number of each level; None where it has not begun.
        level: From 0.
        starts: With which number each level begins.
    """
    for upper in range(level):
        if counters[upper] is None:
            counters[upper] = starts[upper]
    own = counters[level]
    counters[level] = starts[level] if own is None else own + 1
    counters[level + 1 :] = [None] * (len(counters) - level - 1)
