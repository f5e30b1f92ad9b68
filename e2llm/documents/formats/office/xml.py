"""XML out of archives that anybody may have made: bounded, without entities, with short names.

Word writes two sets of namespaces for the same elements (transitional and Strict); both get one
short name, such as `w:p`, so that one walker reads both.
"""

from collections.abc import Iterator
from typing import Any

from e2llm.documents.formats.base import import_package
from e2llm.errors import ReadError

# An element or an attribute takes some hundred bytes of memory: this many take less than a GB.
MAX_NODES = 3_000_000
_OPEN = "http://schemas.openxmlformats.org/"
_STRICT = "http://purl.oclc.org/ooxml/"
_MICROSOFT = "http://schemas.microsoft.com/office/"
_ODF = "urn:oasis:names:tc:opendocument:xmlns:"
_PREFIXES = {
    "http://schemas.openxmlformats.org/markup-compatibility/2006": "mc",
    "urn:schemas-microsoft-com:vml": "v",
    "urn:schemas-microsoft-com:office:office": "o",
    "http://www.w3.org/1998/Math/MathML": "math",
    "http://www.w3.org/1999/xlink": "xlink",
    _OPEN + "package/2006/relationships": "rel",
    _OPEN + "officeDocument/2006/math": "m",
    _STRICT + "officeDocument/math": "m",
    _MICROSOFT + "word/2010/wordprocessingShape": "wps",
    _MICROSOFT + "drawing/2014/chartex": "cx",
    **{
        uri: prefix
        for prefix, room, end in (
            ("w", "wordprocessingml", ""),
            ("p", "presentationml", ""),
            ("a", "drawingml", ""),
            ("wp", "drawingml", "/wordprocessingDrawing"),
            ("pic", "drawingml", "/picture"),
            ("c", "drawingml", "/chart"),
            ("dgm", "drawingml", "/diagram"),
        )
        for uri in (
            f"{_OPEN}{room}/2006{end or '/main'}",
            f"{_STRICT}{room}{end or '/main'}",
        )
    },
    **{
        f"{_ODF}{name}:1.0": prefix
        for name, prefix in (
            ("office", "office"),
            ("text", "text"),
            ("table", "table"),
            ("drawing", "draw"),
            ("style", "style"),
            ("presentation", "presentation"),
            ("svg-compatible", "svg"),
            ("manifest", "manifest"),
        )
    },
}


class _Names(dict[Any, str]):
    """The short name of each tag, kept once it was made."""

    def __missing__(self, tag: Any) -> str:
        name = ""  # what is no element: an entity
        if isinstance(tag, str):
            uri, _, local = tag[1:].rpartition("}") if tag.startswith("{") else ("", "", tag)
            name = f"{_PREFIXES.get(uri, '')}:{local}"
        if len(self) < 10_000:  # a file can make up any number of them
            self[tag] = name
        return name


NAMES = _Names()


def parse(data: bytes, suffix: str) -> Any:
    """Parse a part; return its root, an lxml element.

    Raises:
        ReadError: It is damaged, declares entities, nests deeper than 256, or has more elements
            than fit the memory.
        MissingPackageError: lxml is not there.
    """
    etree = import_package("lxml.etree", "lxml", suffix)
    if data.count(b"<") + data.count(b"=") > MAX_NODES:
        raise ReadError(
            f"has a part of more than {MAX_NODES:,} elements and attributes: split it, or save it "
            "as text"
        )
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        why = str(error).splitlines()[0] if str(error) else "no XML"
        raise ReadError(
            f"has a part that cannot be parsed ({why[:120]}): open it in its program and save it "
            "again"
        ) from error
    declared = root.getroottree().docinfo.internalDTD
    if declared is not None and next(declared.iterentities(), None) is not None:
        raise ReadError("declares XML entities, as no program does: save it again in its program")
    return root


def attribute(element: Any, name: str, default: str = "") -> str:
    """Return the attribute of that local name, in whatever namespace."""
    for key, value in element.items():
        if key == name or key.endswith("}" + name):
            return str(value)
    return default


def child(element: Any, *path: str) -> Any:
    """Follow short names down, the first child of each; None where one is not there."""
    for name in path:
        if element is None:
            return None
        element = next((inner for inner in element if NAMES[inner.tag] == name), None)
    return element


def children(element: Any, name: str) -> Iterator[Any]:
    """Yield the children of that short name; None has none."""
    return (inner for inner in (() if element is None else element) if NAMES[inner.tag] == name)


def value(element: Any, *path: str, default: str | None = None) -> str | None:
    """Return the attribute `val` at the end of a path of short names.

    None where the path ends early; `default` where the element has no `val`.
    """
    found = child(element, *path)
    return None if found is None else attribute(found, "val", default or "")


def is_on(element: Any, name: str) -> bool | None:
    """Return a switch of OOXML, which is on where it has no `val`; None where it is not there."""
    setting = value(element, name)
    return None if setting is None else setting not in ("0", "false", "off")
