"""Office files for the tests: written by the real libraries, then changed where those cannot."""

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import docx
from docx.oxml import parse_xml

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
NAMESPACES = " ".join(
    f'xmlns:{prefix}="{uri}"'
    for prefix, uri in (
        ("w", WORD),
        ("r", RELATIONS),
        ("m", "http://schemas.openxmlformats.org/officeDocument/2006/math"),
        ("v", "urn:schemas-microsoft-com:vml"),
        ("o", "urn:schemas-microsoft-com:office:office"),
        ("mc", "http://schemas.openxmlformats.org/markup-compatibility/2006"),
        ("wp", "http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing"),
        ("a", "http://schemas.openxmlformats.org/drawingml/2006/main"),
        ("c", "http://schemas.openxmlformats.org/drawingml/2006/chart"),
        ("dgm", "http://schemas.openxmlformats.org/drawingml/2006/diagram"),
        ("pic", "http://schemas.openxmlformats.org/drawingml/2006/picture"),
        ("wps", "http://schemas.microsoft.com/office/word/2010/wordprocessingShape"),
    )
)

Change = Callable[[bytes], bytes]


def change_zip(path: Path, changes: Mapping[str, Change | bytes | None]) -> None:
    """Change members of a zip: by a function, by their new content, or None to drop one."""
    before = zipfile.ZipFile(io.BytesIO(path.read_bytes()))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in {**dict.fromkeys(before.namelist()), **changes}:
            content = before.read(name) if name in before.namelist() else b""
            change = changes.get(name, content)
            if change is not None:
                archive.writestr(name, change(content) if callable(change) else change)


def related(**parts: str) -> dict[str, Change | bytes]:
    """Return changes that give a Word file more parts, e.g. `footnotes=...`, by their kind."""
    relations = "".join(
        f'<Relationship Id="x{kind}" Type="{RELATIONS}/{kind}" Target="{kind}.xml"/>'
        for kind in parts
    )
    end = b"</Relationships>"
    return {
        "word/_rels/document.xml.rels": lambda old: old.replace(end, relations.encode() + end),
        **{f"word/{kind}.xml": content.encode() for kind, content in parts.items()},
    }


def part(root: str, inner: str) -> str:
    """Return a part of a Word file."""
    return f"<w:{root} {NAMESPACES}>{inner}</w:{root}>"


def run(text: str, properties: str = "") -> str:
    """Return a run of text."""
    return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'


def paragraph(*runs: str, properties: str = "") -> str:
    """Return a paragraph of runs, or of texts."""
    inner = "".join(each if each.startswith("<") else run(each) for each in runs)
    return f"<w:p><w:pPr>{properties}</w:pPr>{inner}</w:p>"


def word(*body: str, changes: Mapping[str, Change | bytes | None] | None = None):
    """Return what writes a Word file of WordprocessingML, with changes to its other parts."""

    def make(path: Path) -> None:
        document = docx.Document()
        wrapped = parse_xml(f"<w:body {NAMESPACES}>{''.join(body)}</w:body>")
        for element in [*wrapped]:
            document.element.body.insert(len(document.element.body) - 1, element)
        document.save(str(path))
        if changes:
            change_zip(path, changes)

    return make
