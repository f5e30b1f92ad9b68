"""OpenDocument texts, presentations and drawings, as LibreOffice writes them."""

import posixpath
from collections.abc import Callable
from typing import Any

from e2llm.documents.formats.base import Content, Format
from e2llm.documents.formats.office.blocks import Blocks
from e2llm.documents.formats.office.left_out import LeftOut
from e2llm.documents.formats.office.odf_body import OdfWalker, margins
from e2llm.documents.formats.office.odf_styles import OdfStyles
from e2llm.documents.formats.office.xml import NAMES, attribute, child, children, parse
from e2llm.documents.formats.zipped import ZIP_BYTES, open_archive
from e2llm.errors import ReadError

_TYPE = b"application/vnd.oasis.opendocument."
_TITLE = "title"
_REPEATED = ("date-time", "page-number", "header", "footer")


def read_odt(data: bytes, encoding: str | None) -> Content:
    """Return the pages of a text, where it stores where they end; else one part."""
    file = _File(data, ".odt")
    text = child(file.content, "office:body", "office:text")
    if text is None:
        raise ReadError("is an .odt without a text: open it in its program and save it again")
    has_soft_breaks = attribute(text, "use-soft-page-breaks") == "true"
    blocks, walker = Blocks(), file.walker(has_soft_breaks)
    walker.read(text, blocks)
    parts = blocks.parts()
    for name, at in (("style:header", 0), ("style:footer", -1)):
        texts: dict[str, None] = {}
        for element in margins(file.styles, name):
            margin = Blocks()
            walker.read(element, margin)
            texts[margin.text()] = None
        if words := "\n\n".join(filter(None, texts)):
            parts[at] = f"{words}\n\n{parts[at]}" if at == 0 else f"{parts[at]}\n\n{words}"
    return Content(parts, "page" if len(parts) > 1 else None, file.left_out.notices())


def read_odp(data: bytes, encoding: str | None) -> Content:
    """Return the slides of a presentation, or the pages of a drawing, with their notes."""
    file = _File(data, ".odp")
    show = child(file.content, "office:body", "office:presentation")
    unit = "page" if show is None else "slide"
    show = child(file.content, "office:body", "office:drawing") if show is None else show
    slides = [file.slide(page) for page in children(show, "draw:page")]
    return Content(slides, unit, file.left_out.notices())


class _File:
    """One file: its content, its styles, and what is not read of it."""

    def __init__(self, data: bytes, suffix: str) -> None:
        self._archive = open_archive(data)
        self._suffix = suffix
        if b"encryption-data" in self._archive.load("META-INF/manifest.xml"):
            raise ReadError("is encrypted: save it without a password")
        self.content = self._part("content.xml")
        self.styles = self._part("styles.xml")
        if self.content is None:
            raise ReadError(
                f"is an {suffix} without its content: open it in its program and save it again"
            )
        roots = [root for root in (self.content, self.styles) if root is not None]
        self._styles = OdfStyles(roots)
        self.left_out = LeftOut()

    def _part(self, name: str) -> Any:
        data = self._archive.load(name)
        return parse(data, self._suffix) if data else None

    def walker(self, has_soft_breaks: bool = False) -> OdfWalker:
        """Return what reads its text."""
        return OdfWalker(self._styles, self.left_out, self._object, has_soft_breaks)

    def _object(self, address: str) -> Any:
        if not address or "://" in address:
            return None
        return self._part(posixpath.join(posixpath.normpath(address), "content.xml"))

    def slide(self, page: Any) -> str:
        """Return the text of a slide, its title first, then what the speaker noted."""
        titles, blocks, notes = Blocks(), Blocks(), Blocks()
        walker = self.walker()
        for shape in page:
            kind, inner = attribute(shape, "class"), Blocks()
            if NAMES[shape.tag] == "presentation:notes":
                for frame in shape:
                    if attribute(frame, "class") == "notes":
                        walker.read((frame,), notes)
            elif kind not in _REPEATED:
                walker.read((shape,), inner)
                if kind == _TITLE:
                    titles.heading(inner.flat(), 1)
                else:
                    blocks.extend(inner)
        titles.extend(blocks)
        if text := notes.text():
            titles.add(f"Speaker notes: {text}")
        return titles.text()


def _is_of(*kinds: bytes) -> Callable[[bytes], bool]:
    """Return what says whether an archive is a file of one of these kinds, or a template."""

    def looks_like(data: bytes) -> bool:
        kind = open_archive(data).load("mimetype").strip()
        return kind.startswith(tuple(_TYPE + known for known in kinds))

    return looks_like


ODT = Format(
    "odt",
    (".odt", ".ott", ".odm"),
    read_odt,
    first_bytes=ZIP_BYTES,
    looks_like=_is_of(b"text"),
)
ODP = Format(
    "odp",
    (".odp", ".otp", ".odg", ".otg"),
    read_odp,
    first_bytes=ZIP_BYTES,
    looks_like=_is_of(b"presentation", b"graphics"),
)
