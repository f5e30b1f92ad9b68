"""What a line of a text is: prose that was wrapped, or something that stands in lines of its own.

Every test looks at one line, at its first characters or at its end, so that a paragraph that was
joined is told from the others as its lines were.
"""

import re
import unicodedata
from collections.abc import Sequence

# A longer line is a paragraph of its own: nobody wraps that wide.
WIDEST = 120
# What is narrower is a verse or an address unless it shows that it was wrapped; the narrowest
# columns are never joined.
NARROW, NARROWEST = 45, 25
# So much of a line is looked at.
_SEEN = 256

FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_ITEM = re.compile(
    r"[ \t]*(?:[-*+•‣◦▪·–—]|o(?=  )|\(?(?:\d{1,3}(?:\.\d{1,3})*|[A-Za-z]|[ivxIVX]{2,5})[.)]"
    r"|\d{1,3}(?:\.\d{1,3})+(?= +[^\sa-z\d])|\[\d{1,3}\])[ \t]+(?=\S)"
)
# A key and its value, or a speaker and what is said.
_KEYED = re.compile(r"[ \t]*[\w\"'*(<@][^\s:,]*(?: [^\s:,]+){0,3}:(?= |$)")
_TIMED = re.compile(r"[ \t]*(?:\[[^\]]{1,30}\] |<[^<> ]{1,30}> |\d{1,2}:\d\d\b)")
_LOGGED = re.compile(r"[ \t]*\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d")
_QUOTE = re.compile(r"[ \t]*(?:>(?!>> )|\.\. )")
_MARKED = re.compile(r" {0,3}#{1,6} ")
_UNDERLINE = re.compile(r"[ \t]*([=\-~^*\"#+_.:])\1{2,}[ \t]*$")
# Columns: gaps that do not follow a sentence's end, as typists leave there.
_GAP = re.compile(r"[^\s.!?:]['\")]?(  +)\S")
_PROGRAM = re.compile(
    r"[ \t]*(?:>>> |\.\.\. |\$ |//|/\*|#|@\w|[)\]}]|</?\w)"
    r"|.*(?:[;{}\\]|\w\([^()]*\):?)[ \t]*$"
    r"|.*[\w)\]] (?:=|==|!=|:=|::=|\+=|-=|->|=>|&&|\|\|) "
)
_FIELDS = re.compile(r"[^\s,;\d][,;](?=\S)|\d[,;](?=[^\s\d])|[,;](?=[,;\"])")
_CLOSING = "\"'”’»)]}*_`"
OPENING = "\"'“‘«([{*_`"


def is_fixed(line: str, after: str) -> bool:
    """Tell whether a line stands for itself: heading, quote, row of a table, entry of a log.

    Args:
        line: The line.
        after: The one after it, which may underline a heading.
    """
    line = line[:_SEEN]
    if _QUOTE.match(line) or _MARKED.match(line) or _LOGGED.match(line):
        return True
    if _UNDERLINE.match(after[:_SEEN]) or not any(map(str.isalnum, line)):
        return True
    return _is_row(line) or _is_shouted(line)


def item_width(line: str) -> int:
    """Return the characters before an item's text, its indent included; 0 where it is none."""
    match = _ITEM.match(line[:_SEEN])
    return match.end() if match else 0


def is_keyed(line: str) -> bool:
    """Tell whether a line is a key with its value, or somebody's turn in a conversation."""
    line = line[:_SEEN]
    return bool(_KEYED.match(line) or _TIMED.match(line))


def is_data(line: str) -> bool:
    """Tell whether a line looks like a program, a record, or a key with its value."""
    line = line[:_SEEN]
    if _PROGRAM.match(line) or is_keyed(line) or len(_FIELDS.findall(line)) >= 2:
        return True
    shown = [character for character in line if not character.isspace()]
    return 2 * sum(map(str.isalpha, shown)) < len(shown)


def has_equal_fields(lines: Sequence[str]) -> bool:
    """Tell whether three lines or more hold as many commas each, two at the least."""
    counts = {line.count(",") + line.count(";") for line in lines}
    return len(lines) > 2 and len(counts) == 1 and counts.pop() >= 2


def ends_sentence(line: str) -> bool:
    """Tell whether nothing has to follow a line."""
    return line.rstrip().rstrip(_CLOSING).endswith((".", "!", "?", ":", ";", "…", "。", "！", "？"))


def starts_low(line: str) -> bool:
    """Tell whether a line begins with a small letter, after quotes and brackets."""
    return line.lstrip().lstrip(OPENING)[:1].islower()


def flows(line: str, after: str) -> bool:
    """Tell whether a sentence goes on from a line to the one after it."""
    return not ends_sentence(line) and starts_low(after)


def indent(line: str) -> int:
    """Return the white space before a line, a tab as four characters."""
    before = line[: len(line) - len(line.lstrip(" \t"))]
    return len(before) + 3 * before.count("\t")


def width(line: str) -> int:
    """Return the columns that a line takes; characters of Chinese and Japanese take two."""
    line = line.rstrip()
    if line.isascii() or len(line) > WIDEST:
        return len(line)
    return len(line) + sum(map(is_wide, line))


def is_wide(character: str) -> bool:
    """Tell whether a character is written without spaces between words."""
    wide = unicodedata.east_asian_width(character) in "WF"
    return wide and not "\uac00" <= character <= "\ud7a3"  # Korean has spaces


def _is_row(line: str) -> bool:
    shown = line.strip()
    if "\t" in shown or shown.startswith("|") or shown.count("|") >= 2:
        return True
    gaps = [len(gap) for gap in _GAP.findall(shown)]
    return len(gaps) >= 2 or any(gap >= 3 for gap in gaps)


def _is_shouted(line: str) -> bool:
    shown = line.strip()
    return 1 < len(shown) <= 60 and shown.isupper() and not shown.endswith("-")
