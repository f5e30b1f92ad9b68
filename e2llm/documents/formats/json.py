"""JSON and JSON lines: each element a record of `path.key: value` lines that can be read alone.

Escapes are resolved; numbers, keys and strings stay as they are written, and what stands twice is
read twice.
"""

import json
import re
from collections.abc import Iterator, Sequence

from e2llm.documents.formats.base import Content, Format
from e2llm.documents.formats.csv import split_lines
from e2llm.documents.formats.records import (
    RECORD_CHARS,
    decode_lines,
    short_label,
    split_record,
    without_files,
)

# An object is a tuple of pairs, since a key may stand twice; a number is what the file has for it.
Value = str | list["Value"] | tuple[tuple[str, "Value"], ...]

_START = re.compile(rb'(?:\xef\xbb\xbf)?\s*(?:\{\s*"[^"\\\n]*"\s*:|\[\s*\{\s*")')
# A list of short values is one line of at most so many characters.
_LIST_CHARS = 100
# So many levels are looked into for lists of records.
_MAX_LEVELS = 4
_LITERALS = {None: "null", True: "true", False: "false"}


def read_json(data: bytes, encoding: str | None) -> Content:
    """Return the records of a JSON file; of what is not JSON its text as it stands."""
    text, notices = decode_lines(data, encoding)
    parser = Parser()
    try:
        value = parser.parse(text)
    except (ValueError, RecursionError) as error:
        lines = split_lines(text)
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data" and len(lines) > 1:
            return _read_lines(lines, notices)
        return Content([text], notices=(*notices, f"{_why(error)}: it was read as it stands"))
    return Content([list(write_records(value))], notices=(*notices, *parser.notices()))


def read_json_lines(data: bytes, encoding: str | None) -> Content:
    """Return a record for each line; a line that is not JSON stands as it is."""
    text, notices = decode_lines(data, encoding)
    return _read_lines(split_lines(text), notices)


def _read_lines(lines: Sequence[str], notices: tuple[str, ...]) -> Content:
    parser = Parser()
    records: list[str] = []
    bad: list[int] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            records += write_element(parser.parse(line))
        except (ValueError, RecursionError):
            bad.append(number)
            records.append(line.rstrip("\n") + "\n\n")
    said = [*notices, *parser.notices()]
    if bad:
        lines_are = "1 line is" if len(bad) == 1 else f"{len(bad):,} lines are"
        said.append(f"{lines_are} not JSON, the first line {bad[0]:,}: read as they stand")
    return Content([records], notices=tuple(said))


def _why(error: ValueError | RecursionError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON (line {error.lineno:,}, column {error.colno:,}: {error.msg})"
    return "its JSON is nested too deeply"


class Parser:
    """Parse JSON and count what is to be noticed."""

    def __init__(self) -> None:
        self.n_twice = 0
        self.n_files = 0
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._pairs,
            parse_float=str,
            parse_int=str,
            parse_constant=str,
            strict=False,
        )

    def parse(self, text: str) -> Value:
        """Return a value.

        Raises:
            ValueError: It is not JSON.
            RecursionError: It is nested too deeply.
        """
        return self._plain(self._decoder.decode(text.removeprefix("\ufeff")))

    def notices(self) -> list[str]:
        """Return what is to be said of all that was parsed."""
        notices = []
        if self.n_twice:
            keys = "1 key stands" if self.n_twice == 1 else f"{self.n_twice:,} keys stand"
            notices.append(f"{keys} twice in one object: both values are read")
        if self.n_files:
            files = "1 file" if self.n_files == 1 else f"{self.n_files:,} files"
            notices.append(f"{files} inside it (base64) not read")
        return notices

    def _pairs(self, pairs: list[tuple[str, object]]) -> tuple[tuple[str, Value], ...]:
        self.n_twice += len(pairs) - len({key for key, _ in pairs})
        return tuple((key, self._plain(value)) for key, value in pairs)

    def _plain(self, value: object) -> Value:
        """Return a value whose objects are done, with its literals and embedded files as text."""
        if isinstance(value, str):
            text, n_files = without_files(value)
            self.n_files += n_files
            return text
        if isinstance(value, list):
            return [self._plain(item) for item in value]
        return _LITERALS[value] if value is None or isinstance(value, bool) else value  # type: ignore[return-value]


def write_records(value: Value, path: str = "", level: int = 0) -> Iterator[str]:
    """Yield the records of a value: its elements, those of the lists in it, and what stands beside.

    Args:
        value: A value.
        path: Where it stands, which its records say.
        level: Levels above it.
    """
    if isinstance(value, list) and any(map(_is_nested, value)):
        for index, item in enumerate(value):
            yield from write_element(item, f"{path}[{index}]" if path else "")
        return
    if not isinstance(value, tuple) or level >= _MAX_LEVELS:
        yield from write_element(value, path, whole=False)
        return
    own: list[str] = []
    for key, item in value:
        inner = f"{path}.{short_label(key)}" if path else short_label(key)
        fields = list(flatten(item, inner, key))
        if _is_nested(item) and sum(map(len, fields)) > RECORD_CHARS:
            if inner.endswith("…"):
                own.append(fields[0])  # the key, which is too long to be a label
            if own:
                yield from split_record(own, "\n", "\n\n")
                own = []
            yield from write_records(item, inner, level + 1)
        else:
            own += fields
    if own:
        yield from split_record(own, "\n", "\n\n")


def write_element(value: Value, path: str = "", whole: bool = True) -> Iterator[str]:
    """Yield the record of a value, or several that begin with its first field.

    Args:
        value: A value.
        path: Where it stands; before a whole record it is a line of its own.
        whole: Whether its fields are named from itself on, and not by their whole path.
    """
    if not whole:
        fields = list(flatten(value, path))
    else:
        fields = list(flatten(value))
        if path:
            fields[0] = f"{path}\n{fields[0]}" if _is_nested(value) else f"{path}: {fields[0]}"
    yield from split_record(fields, "\n", "\n\n")


def flatten(value: Value, path: str = "", key: str = "") -> Iterator[str]:
    """Yield the fields of a value, each a line `path: value`, in order.

    Example:
        >>> list(flatten((("a", "1"), ("b", (("c", ["2", "3"]),)))))
        ['a: 1', 'b.c: 2, 3']
    """
    todo: list[tuple[Value, str, str]] = [(value, path, key)]
    while todo:
        value, path, key = todo.pop()
        if len(key) > len(short_label(key)):
            yield f"{path} is: {key}"
        if isinstance(value, str):
            yield f"{path}: {value}" if path else value
        elif not value:
            empty = "[]" if isinstance(value, list) else "{}"
            yield f"{path}: {empty}" if path else empty
        elif isinstance(value, list):
            if (line := _one_line(value)) is not None:
                yield f"{path}: {line}" if path else line
            else:
                inner = _shorten(path)
                todo += [(value[i], f"{inner}[{i}]", "") for i in reversed(range(len(value)))]
        else:
            inner = _shorten(path) + "." if path else ""
            todo += [(item, inner + short_label(key), key) for key, item in reversed(value)]


def _one_line(values: list[Value]) -> str | None:
    """Return a list of short values as one line; None where it would be none, or ambiguous."""
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) < len(values) or sum(map(len, texts)) > _LIST_CHARS:
        return None
    return None if any("," in text or "\n" in text for text in texts) else ", ".join(texts)


def _shorten(path: str) -> str:
    """Return a path of bounded length, its end where it is long."""
    return path if len(path) <= 2 * _LIST_CHARS else "…" + path[-2 * _LIST_CHARS :]


def _is_nested(value: Value) -> bool:
    return not isinstance(value, str) and bool(value)


JSON = Format(
    "json",
    (".json", ".geojson"),
    read_json,
    looks_like=lambda data: _START.match(data) is not None,
)
JSON_LINES = Format("jsonl", (".jsonl", ".ndjson"), read_json_lines)
