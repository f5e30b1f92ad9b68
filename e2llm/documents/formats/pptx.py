"""PowerPoint files: the text of each slide, and what the speaker noted at it."""

import re
from collections.abc import Iterator

from e2llm.documents.formats.base import Content, Format
from e2llm.documents.formats.office.left_out import LeftOut
from e2llm.documents.formats.office.package import Package, has_type
from e2llm.documents.formats.office.slide import SlideReader
from e2llm.documents.formats.office.xml import attribute, child, children
from e2llm.documents.formats.zipped import ZIP_BYTES, open_archive

_MAIN = "ppt/presentation.xml"
_TYPES = re.compile(rb"(?:presentationml|ms-powerpoint)\.[\w.]*main\+xml")
_NUMBERED = re.compile(r"ppt/slides/slide(\d+)\.xml", re.IGNORECASE)


def read_pptx(data: bytes, encoding: str | None) -> Content:
    """Return the slides of a presentation in the order of the show, each with its notes."""
    package = Package(open_archive(data), ".pptx")
    left_out = LeftOut()
    reader = SlideReader(package, left_out)
    slides: list[str] = []
    hidden: list[int] = []
    for part in _slides(package):
        root = package.part(part)
        if root is None:
            continue
        text, notes = reader.read(part, root), reader.notes(part)
        slides.append("\n\n".join(filter(None, (text, notes and f"Speaker notes: {notes}"))))
        if attribute(root, "show") in ("0", "false"):
            hidden.append(len(slides))
        for comments in package.related(part, "comments"):
            root = package.part(comments)
            left_out.n_comments += 0 if root is None else len(root)
    notices = left_out.notices()
    if hidden:
        listed = ", ".join(map(str, hidden[:8])) + (" ..." if len(hidden) > 8 else "")
        notices += (f"hidden slides are read too ({listed})",)
    return Content(slides, "slide", notices)


def _slides(package: Package) -> Iterator[str]:
    """Yield the slides' parts in the order of the show; where none is told, by their numbers."""
    main = package.main(_MAIN)
    order = child(package.part(main), "p:sldIdLst")
    parts = []
    for slide in children(order, "p:sldId"):
        # It has an id of its own beside that of its relation.
        ids = [value for key, value in slide.items() if key.endswith("}id")]
        parts += [package.target(main, id_) for id_ in ids]
    if any(parts):
        yield from dict.fromkeys(filter(None, parts))
        return
    found = [(_NUMBERED.fullmatch(name), name) for name in package.archive.namelist()]
    yield from (name for _, name in sorted((int(match[1]), name) for match, name in found if match))


def _is_powerpoint(data: bytes) -> bool:
    return has_type(open_archive(data), _TYPES, _MAIN)


PPTX = Format(
    "pptx",
    (".pptx", ".pptm", ".ppsx", ".ppsm", ".potx", ".potm"),
    read_pptx,
    first_bytes=ZIP_BYTES,
    looks_like=_is_powerpoint,
)
