"""Feeds, RSS and Atom: an entry is a heading, what is known of it, and its text."""

from collections.abc import Iterator
from typing import Any

from e2llm.documents.formats.base import Content, import_package
from e2llm.documents.formats.html import read_html

_ENTRIES = ("item", "entry")
# The longest of them is the text of an entry; what it does not hold of the others comes before it.
_BODIES = ("description", "summary", "content", "encoded")


def is_feed(root: Any) -> bool:
    """Tell whether an XML element is the root of a feed."""
    name = _local(root)
    return name in ("rss", "feed") or (
        name == "RDF" and any(_local(child) == "item" for child in root)
    )


def read_feed(root: Any) -> Iterator[str]:
    """Yield the records of a feed: what it says of itself, then its entries."""
    channel = next((child for child in root if _local(child) == "channel"), root)
    yield from _write(channel, "# ")
    for element in root.iter("*"):
        if _local(element) in _ENTRIES:
            yield from _write(element, "## ")


def _write(element: Any, mark: str) -> Iterator[str]:
    title = ""
    fields: list[str] = []
    bodies: list[str] = []
    for child in element.iterchildren("*"):
        name = _local(child)
        if name in _ENTRIES or name == "channel":
            continue
        text = _text(child)
        if name == "title":
            title = " ".join(text.split())
        elif name in _BODIES:
            # XHTML stands as elements, HTML as escaped text.
            body = _visible(child) if len(child) else _html(text)
            if body and not any(body in other for other in bodies):
                bodies = [other for other in bodies if other not in body] + [body]
        elif text := " ".join(text.split()) or child.get("href") or child.get("url") or "":
            fields.append(f"{name}: {text}")
        elif child.attrib:
            own = ", ".join(f"{key.rpartition('}')[2]} {value}" for key, value in child.items())
            fields.append(f"{name}: {own}")
    parts = [mark + title if title else "", "\n".join(fields), *bodies]
    if text := "\n\n".join(filter(None, parts)):
        yield text + "\n\n"


def _html(text: str) -> str:
    if "<" not in text and "&" not in text:
        return text.strip()
    content = read_html(f"<body>{text}</body>".encode("utf-8", "replace"), "utf-8")
    if isinstance(content, Content):
        return "\n\n".join(
            part if isinstance(part, str) else "".join(part) for part in content.parts
        ).strip()
    return content.strip()


def _visible(element: Any) -> str:
    etree = import_package("lxml.etree", "lxml", ".xml")
    return _html(etree.tostring(element, encoding="unicode", with_tail=False))


def _text(element: Any) -> str:
    """Return all the text in an element."""
    return " ".join(element.itertext()).strip() if len(element) else (element.text or "").strip()


def _local(element: Any) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
