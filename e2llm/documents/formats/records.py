"""Records: what belongs together in data, as `label: value` fields that can be read alone."""

import re
from collections.abc import Iterator, Sequence

from e2llm.documents.formats.encoding import decode_any

# A chunk of the default pair holds 512 characters. A longer record is written as several that
# each begin with its first field, so that a chunk tells whose values it holds.
RECORD_CHARS = 500
# A longer first field is not repeated, and of a longer label the rest is left out after its first
# use: a file of a megabyte must not become one of a gigabyte.
_KEY_CHARS = 100
MAX_LABEL_CHARS = 100
# One NUL in so many bytes is dirt in a file of text; more of them tell of a binary one.
_BYTES_PER_NUL = 1000
_EMBEDDED = re.compile(r"data:[\w/+.-]*(?:;[\w=.-]+)*;base64,[\w+/=\s%-]{200,}")


def split_record(fields: Sequence[str], separator: str, end: str) -> Iterator[str]:
    """Yield a record, or where it is longer than a chunk, several that begin with its first field.

    Args:
        fields: Each a label with its value.
        separator: What stands between two fields.
        end: What stands after a record.

    Example:
        >>> list(split_record(["id: 7", "a: 1", "b: 2"], "; ", "\\n"))
        ['id: 7; a: 1; b: 2\\n']
    """
    key = [fields[0]] if fields and len(fields[0]) <= _KEY_CHARS else []
    own: list[str] = []
    n_chars = 0
    for field in fields:
        if n_chars + len(field) > RECORD_CHARS - len(end) and len(own) > len(key):
            yield separator.join(own) + end
            own = [*key]
            n_chars = sum(map(len, own)) + len(separator)
        own.append(field)
        n_chars += len(field) + len(separator)
    yield separator.join(own) + end


def short_label(label: str) -> str:
    """Return a label as it stands before a value: its beginning where it is very long."""
    label = " ".join(label.split())
    return label if len(label) <= MAX_LABEL_CHARS else label[: MAX_LABEL_CHARS - 1] + "…"


def decode_lines(data: bytes, encoding: str | None) -> tuple[str, tuple[str, ...]]:
    """Decode what a program wrote, with line feeds for line breaks; return it and what is noticed.

    A few NULs are replaced and counted.

    Raises:
        ReadError: It is binary, or its encoding is not to be told.
        UserError: Python knows no encoding of that name.
    """
    n_nuls = data.count(0)
    notices: tuple[str, ...] = ()
    if 0 < n_nuls <= max(1, len(data) // _BYTES_PER_NUL) and not encoding:
        # A character of every encoding stands in for it until the text is decoded.
        data = data.replace(b"\0", b"\x1a")
        notices = (f"{count(n_nuls, 'NUL character')} replaced by \ufffd",)
    text, decoded = decode_any(data, encoding)
    if notices:
        text = text.replace("\x1a", "\ufffd")
    return text.replace("\r\n", "\n").replace("\r", "\n"), (*notices, *decoded)


def count(number: int, noun: str, nouns: str | None = None) -> str:
    """Return a number with its noun.

    Example:
        >>> count(1, "chart"), count(2, "text box")
        ('1 chart', '2 text boxes')
    """
    plural = nouns or (noun + "es" if noun.endswith("x") else noun + "s")
    return f"{number:,} {noun if number == 1 else plural}"


def without_files(text: str) -> tuple[str, int]:
    """Replace files that a text holds as base64 by their kind; return it and how many they were."""

    def name(match: re.Match[str]) -> str:
        return f"[{match[0][5:80].split(';')[0] or 'file'}, {len(match[0]):,} characters of base64]"

    return _EMBEDDED.subn(name, text) if "base64," in text else (text, 0)
