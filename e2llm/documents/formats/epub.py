"""Books (`.epub`): chapters in the order of reading, with their titles."""

import posixpath
import zipfile
from typing import Any
from urllib.parse import unquote

from e2llm.documents.formats.base import Content, Format, import_package
from e2llm.documents.formats.encoding import decode_any
from e2llm.documents.formats.html import declared_encoding
from e2llm.documents.formats.html_text import page_text
from e2llm.documents.formats.zipped import ZIP_BYTES, open_archive
from e2llm.errors import ReadError

_MIMETYPE = b"application/epub+zip"
_DAMAGED = "is a damaged .epub: open it in a reader such as Calibre and save it again"
# What hides fonts from copying; text that is encrypted is so by a shop.
_FONT_ALGORITHMS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")


def read_epub(data: bytes, encoding: str | None) -> Content:
    """Return the text of each chapter of a book.

    Raises:
        ReadError: It is damaged, or encrypted by the shop that sold it.
    """
    etree = import_package("lxml.etree", "lxml", ".epub")
    with open_archive(data) as archive:
        _refuse_encrypted(archive, etree)
        container = _xml(archive, "META-INF/container.xml", etree)
        path = container.xpath("string(//*[local-name()='rootfile']/@full-path)")
        package = _xml(archive, path, etree)
        folder = posixpath.dirname(path)
        items = {
            item.get("id"): item for item in package.xpath("//*[local-name()='manifest']/*[@id]")
        }
        titles = _titles(archive, package, items, folder, etree)
        chapters: list[str] = []
        lost: list[str] = []
        for reference in package.xpath("//*[local-name()='spine']/*[@idref]"):
            item = items.get(reference.get("idref"))
            name = "" if item is None else _path(folder, item.get("href", ""))
            try:
                chapter = archive.read(name)
            except (KeyError, RuntimeError, zipfile.BadZipFile):
                lost.append(name or reference.get("idref"))
                continue
            markup, _ = decode_any(chapter, encoding, declared_encoding(chapter))
            text = page_text(markup, etree)
            title = titles.get(name, "")
            if text.strip():
                known = not title or title in " ".join(text[: 2 * len(title) + 200].split())
                chapters.append(text if known else f"{title}\n\n{text}")
    notices = tuple(f"its part {name!r} is missing or damaged" for name in lost)
    return Content(chapters, "chapter", notices)


def _refuse_encrypted(archive: zipfile.ZipFile, etree: Any) -> None:
    if "META-INF/encryption.xml" not in archive.namelist():
        return
    said = _xml(archive, "META-INF/encryption.xml", etree)
    algorithms = said.xpath("//*[local-name()='EncryptedData']/*[local-name()='EncryptionMethod']")
    if any(method.get("Algorithm") not in _FONT_ALGORITHMS for method in algorithms):
        raise ReadError("is encrypted by the shop that sold it: give a copy without protection")


def _titles(
    archive: zipfile.ZipFile, package: Any, items: dict[str, Any], folder: str, etree: Any
) -> dict[str, str]:
    """Return the titles of the files that the table of contents names, of either kind."""
    contents = [
        item
        for item in items.values()
        if "nav" in item.get("properties", "").split()
        or item.get("media-type") == "application/x-dtbncx+xml"
    ]
    titles: dict[str, str] = {}
    for item in contents:
        path = _path(folder, item.get("href", ""))
        try:
            table = _xml(archive, path, etree)
        except ReadError:
            continue
        for link in table.xpath("//*[local-name()='nav']//*[local-name()='a'][@href]"):
            _name(titles, path, link.get("href"), link.xpath("string()"))
        for point in table.xpath("//*[local-name()='navPoint']"):
            _name(
                titles,
                path,
                point.xpath("string(./*[local-name()='content']/@src)"),
                point.xpath("string(./*[local-name()='navLabel'])"),
            )
    return titles


def _name(titles: dict[str, str], table: str, link: str, label: str) -> None:
    """Note a title, where it is a file's first and not a place's in it that comes later."""
    titles.setdefault(_path(posixpath.dirname(table), link), " ".join(label.split()))


def _path(folder: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(folder, unquote(link.split("#")[0])))


def _xml(archive: zipfile.ZipFile, path: str, etree: Any) -> Any:
    """Return the root of an XML file in the book; no entity in it is resolved."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, recover=True)
    try:
        root = etree.fromstring(archive.read(path), parser)
    except (KeyError, RuntimeError, zipfile.BadZipFile, etree.XMLSyntaxError) as error:
        raise ReadError(_DAMAGED) from error
    if root is None:
        raise ReadError(_DAMAGED)
    return root


EPUB = Format(
    "epub",
    (".epub",),
    read_epub,
    first_bytes=ZIP_BYTES,
    looks_like=lambda data: _MIMETYPE in data[:100],
)
