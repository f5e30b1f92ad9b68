"""YAML as it stands, for people read it so: its comments stay, and no alias is followed.

Its records are what the parser's events tell: elements that fit a chunk, and those of the ones that
do not.
"""

from collections.abc import Iterator
from typing import Any

from e2llm.documents.formats.base import Content, Format, import_package
from e2llm.documents.formats.records import RECORD_CHARS, decode_lines
from e2llm.documents.formats.splitting import split_at

# An element: where it begins and ends, and those in it.
_Node = tuple[int, int, list[Any]]
_MAX_LEVELS = 6


def read_yaml(data: bytes, encoding: str | None) -> Content:
    """Return the text of a YAML file, whose records are its elements."""
    yaml = import_package("yaml", "pyyaml", ".yaml")
    text, notices = decode_lines(data, encoding)
    try:
        root = _parse(yaml, text)
    except yaml.YAMLError:
        # A template, as of Helm: its lines that are not indented begin its elements.
        return Content([split_at(text, _unindented(text))], notices=notices)
    starts = list(_starts(root, len(text)))
    return Content([split_at(text, [_begin_line(text, start) for start in starts])], None, notices)


def _parse(yaml: Any, text: str) -> _Node:
    """Return the tree of a text's elements, by its events; an alias is a leaf."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    root: _Node = (0, len(text), [])
    open_ = [root]
    keys: list[int | None] = [None]  # of each open mapping the start of its key, before its value
    for event in yaml.parse(text, loader):
        start = event.start_mark.index
        if isinstance(event, yaml.events.CollectionEndEvent):
            open_.pop()
            keys.pop()
            continue
        if not isinstance(event, yaml.events.NodeEvent):
            continue
        if keys[-1] == -1:  # a mapping's key comes first
            keys[-1] = start
            if isinstance(event, yaml.events.ScalarEvent | yaml.events.AliasEvent):
                continue
        elif keys[-1] is not None:
            start, keys[-1] = keys[-1], -1
        node: _Node = (start, event.end_mark.index, [])
        if len(open_) <= _MAX_LEVELS:
            open_[-1][2].append(node)
        if isinstance(event, yaml.events.CollectionStartEvent):
            open_.append(node)
            keys.append(-1 if isinstance(event, yaml.events.MappingStartEvent) else None)
    return root


def _starts(node: _Node, end: int) -> Iterator[int]:
    """Yield where records begin: at elements that fit, and at those in the ones that do not."""
    begin, _, inner = node
    yield begin
    if end - begin <= RECORD_CHARS or not inner:
        return
    ends = [child[0] for child in inner[1:]] + [end]
    for child, after in zip(inner, ends, strict=True):
        yield from _starts(child, after)


def _begin_line(text: str, offset: int) -> int:
    """Return where the line of an offset begins, with the comments right above it."""
    start = text.rfind("\n", 0, offset) + 1
    while start:
        before = text.rfind("\n", 0, start - 1) + 1
        if not text[before:start].lstrip().startswith("#"):
            break
        start = before
    return start


def _unindented(text: str) -> Iterator[int]:
    start = 0
    for line in text.splitlines(keepends=True):
        if line[:1].strip() and line[:1] not in "#}])":
            yield _begin_line(text, start)
        start += len(line)


YAML = Format("yaml", (".yaml", ".yml"), read_yaml)
