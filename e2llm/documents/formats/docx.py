"""Word files, read from their XML: what Word draws, in its order, with what it keeps elsewhere.

Notes stand at their places, numbers before their paragraphs, headers and footers once. Deleted and
hidden text is not read, nor are comments.
"""

import re
from typing import Any

from e2llm.documents.formats.base import Content, Format
from e2llm.documents.formats.office.blocks import Blocks
from e2llm.documents.formats.office.left_out import LeftOut
from e2llm.documents.formats.office.package import Package, has_type
from e2llm.documents.formats.office.word_body import Walker
from e2llm.documents.formats.office.word_numbering import Numbering
from e2llm.documents.formats.office.word_shared import Shared
from e2llm.documents.formats.office.word_styles import Styles, integer
from e2llm.documents.formats.office.xml import attribute, children, is_on, parse
from e2llm.documents.formats.zipped import ZIP_BYTES, open_archive

_MAIN = "word/document.xml"
_TYPES = re.compile(rb"(?:wordprocessingml\.\w+|ms-word\.\w+\.\w+)\.main\+xml")
_RENDERED = b"lastRenderedPageBreak"


def read_docx(data: bytes, encoding: str | None) -> Content:
    """Return the pages of a Word document, where it stores where they end; else one part."""
    package = Package(open_archive(data), ".docx")
    main = package.main(_MAIN)
    xml = package.archive.load(main)
    shared = Shared(
        package,
        Styles(_related(package, main, "styles")),
        Numbering(_related(package, main, "numbering")),
        LeftOut(),
        has_rendered=_RENDERED in xml,
    )
    _find_notes(shared, main)
    body = Blocks()
    walker = Walker(shared, main)
    walker.read(parse(xml, package.suffix), body)
    del xml
    headers, footers = _margins(shared, main, walker.sections)
    for comments in package.related(main, "comments"):
        found = package.part(comments)
        shared.left_out.n_comments += sum(1 for _ in children(found, "w:comment"))

    parts = body.parts()
    if headers:
        parts[0] = f"{headers}\n\n{parts[0]}"
    if footers:
        parts[-1] = f"{parts[-1]}\n\n{footers}"
    unit = "page" if len(parts) > 1 and len(parts) >= _n_pages(package) else None
    if unit is None:
        parts = ["\n\n".join(filter(None, parts))]
    return Content(parts, unit, shared.left_out.notices())


def _related(package: Package, main: str, kind: str) -> Any:
    return next((package.part(name) for name in package.related(main, kind)), None)


def _find_notes(shared: Shared, main: str) -> None:
    """Keep each footnote and endnote until its place is met."""
    for kind in ("footnote", "endnote"):
        for part in shared.package.related(main, kind + "s"):
            for note in children(shared.package.part(part), f"w:{kind}"):
                if attribute(note, "type", "normal") == "normal":
                    shared.notes[kind, attribute(note, "id")] = (part, note)


def _margins(shared: Shared, main: str, sections: list[Any]) -> tuple[str, str]:
    """Return the headers and the footers that are shown, each text once."""
    package = shared.package
    settings = _related(package, main, "settings")
    evens = settings is not None and is_on(settings, "w:evenAndOddHeaders")
    texts: dict[str, dict[str, None]] = {"w:headerReference": {}, "w:footerReference": {}}
    read: set[str] = set()
    for section in sections:
        shown = {"default", "first" if is_on(section, "w:titlePg") else "", "even" if evens else ""}
        for kind, found in texts.items():
            for reference in children(section, kind):
                part = package.target(main, attribute(reference, "id"))
                if attribute(reference, "type", "default") not in shown or part in read:
                    continue
                read.add(part)
                root = package.part(part)
                blocks = Blocks()
                if root is not None:
                    Walker(shared, part, is_margin=True).read(root, blocks)
                if text := blocks.text():
                    found[text] = None
    return "\n\n".join(texts["w:headerReference"]), "\n\n".join(texts["w:footerReference"])


def _n_pages(package: Package) -> int:
    """Return how many pages the program that saved the file counted; 0 where it does not say."""
    for part in package.related("", "extended-properties"):
        properties = package.part(part)
        for inner in () if properties is None else properties:
            if str(inner.tag).endswith("}Pages"):
                return integer(inner.text) or 0
    return 0


def _is_word(data: bytes) -> bool:
    return has_type(open_archive(data), _TYPES, _MAIN)


DOCX = Format(
    "docx",
    (".docx", ".docm", ".dotx", ".dotm"),
    read_docx,
    first_bytes=ZIP_BYTES,
    looks_like=_is_word,
)
