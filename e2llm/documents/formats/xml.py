"""XML: data as records of `path.name: value` lines, prose as its paragraphs, feeds as entries.

No entity is followed and nothing is fetched.
"""

import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from e2llm.documents.formats.base import Content, Format, import_package
from e2llm.documents.formats.feed import is_feed, read_feed
from e2llm.documents.formats.json import Value, write_records
from e2llm.documents.formats.records import decode_lines

_START = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*<\?xml\b(?![^>]*>\s*(?:<!--.*?-->\s*)*<(?:!doctype )?html)"
)
_HEADINGS = ("title", "head", "h1", "h2", "h3", "h4")
_SUFFIXES = ".xml .rss .atom .rdf .opml .kml .gpx .svg .fb2 .docbook .dbk .tei .xsd .xsl .xslt"


def read_xml(data: bytes, encoding: str | None) -> Content:
    """Return the content of an XML file; of what is not well formed its text as it stands."""
    etree = import_package("lxml.etree", "lxml", ".xml")
    parser = etree.XMLParser(
        encoding=encoding,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        remove_comments=True,
        remove_pis=True,
        collect_ids=False,
    )
    try:
        root = etree.fromstring(data.lstrip(), parser)
    except etree.XMLSyntaxError as error:
        text, notices = decode_lines(data, encoding)
        why = " ".join(str(error).split())
        return Content([text], notices=(*notices, f"not XML ({why}): it was read as it stands"))
    notices = ()
    n_entities = sum(1 for _ in root.iter(etree.Entity))
    if n_entities:
        entities = "1 entity is" if n_entities == 1 else f"{n_entities:,} entities are"
        notices = (f"{entities} not resolved: the name stands in the text",)
    if is_feed(root):
        return Content([list(read_feed(root))], notices=notices)
    if any(map(_is_mixed, root.iter("*"))):
        if any(element.attrib for element in root.iter("*")):
            notices += ("attributes (ids, links, classes) are not read",)
        return Content([list(_paragraphs(root, 0))], notices=notices)
    return Content([list(write_records(to_value(root)))], notices=notices)


def to_value(element: Any) -> Value:
    """Return an element as JSON would hold it: neighbours of one name are a list."""
    pairs: list[tuple[str, Value]] = [(local(name), text) for name, text in element.items()]
    if text := _own_text(element):
        if not pairs and not any(True for _ in element.iterchildren("*")):
            return text
        pairs.append(("text", text))
    for name, group in groupby(element.iterchildren("*"), key=lambda child: local(child.tag)):
        values = [to_value(child) for child in group]
        pairs.append((name, values if len(values) > 1 else values[0]))
    return tuple(pairs) if pairs else ""


def local(name: str) -> str:
    """Return a name without its namespace."""
    return name.rpartition("}")[2]


def _own_text(element: Any) -> str:
    """Return the text of an element itself, with entities by their names, not that of others."""
    pieces = [element.text or ""]
    for child in element:
        if not isinstance(child.tag, str):
            pieces.append(child.text or "")
        pieces.append(child.tail or "")
    return "".join(pieces).strip()


def _is_mixed(element: Any) -> bool:
    """Tell whether text and elements stand side by side in an element."""
    return any(True for _ in element.iterchildren("*")) and bool(_own_text(element))


def _paragraphs(element: Any, level: int) -> Iterator[str]:
    """Yield the paragraphs in an element of prose, its titles as headings."""
    if not any(True for _ in element.iterchildren("*")) or _is_mixed(element):
        if text := " ".join(_all_text(element).split()):
            title = local(element.tag).lower() in _HEADINGS
            yield ("#" * min(max(level, 1), 6) + " " if title else "") + text + "\n\n"
        return
    for child in element.iterchildren("*"):
        yield from _paragraphs(child, level + 1)


def _all_text(element: Any) -> str:
    pieces = [element.text or ""]
    for child in element:
        pieces.append(_all_text(child) if isinstance(child.tag, str) else child.text or "")
        pieces.append(child.tail or "")
    return "".join(pieces)


XML = Format(
    "xml",
    tuple(_SUFFIXES.split()),
    read_xml,
    looks_like=lambda data: _START.match(data) is not None,
)
