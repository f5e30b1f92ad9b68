"""Books, files that gzip packed, and binary files of which each kind has its advice."""

import gzip
import io
import zipfile
from pathlib import Path

from tests.documents.cases import Case, Make, raw

_XHTML = '<html xmlns="http://www.w3.org/1999/xhtml"><head><title/></head><body>{}</body></html>'
_CONTAINER = (
    '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/>'
    "</rootfiles></container>"
)
_PACKAGE = (
    '<package xmlns="http://www.idpf.org/2007/opf"><manifest>'
    '<item id="nav" href="nav.xhtml" properties="nav" media-type="application/xhtml+xml"/>'
    '<item id="b" href="two.xhtml" media-type="application/xhtml+xml"/>'
    '<item id="a" href="the%20one.xhtml" media-type="application/xhtml+xml"/></manifest>'
    '<spine><itemref idref="a"/><itemref idref="b"/>{}</spine></package>'
)
_NAV = '<nav><a href="the%20one.xhtml">The River</a><a href="two.xhtml#top">The Bridge</a></nav>'


def _book(more: dict[str, str] | None = None, spine: str = "") -> Make:
    def make(path: Path) -> None:
        members = {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": _CONTAINER,
            "OEBPS/book.opf": _PACKAGE.format(spine),
            "OEBPS/nav.xhtml": _XHTML.format(_NAV),
            "OEBPS/two.xhtml": _XHTML.format("<h1>The Bridge</h1><p>It opened in 1901.</p>"),
            "OEBPS/the one.xhtml": _XHTML.format("<p>It is 10<sup>3</sup> km long.</p>"),
        }
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in (members | (more or {})).items():
                archive.writestr(name, text)

    return make


def _packed(data: bytes, name: str = "") -> Make:
    def make(path: Path) -> None:
        packed = io.BytesIO()
        with gzip.GzipFile(name, "wb", fileobj=packed) as file:
            file.write(data)
        path.write_bytes(packed.getvalue())

    return make


def _bomb(path: Path) -> None:
    with gzip.open(path, "wb") as file:
        for _ in range(300):
            file.write(bytes(2**20))


_LOCKED = (
    '<encryption xmlns:e="http://www.w3.org/2001/04/xmlenc#"><e:EncryptedData><e:EncryptionMethod '
    'Algorithm="http://www.w3.org/2001/04/xmlenc#aes128-cbc"/></e:EncryptedData></encryption>'
)
_FIRST = {
    "plan.png": (b"\x89PNG\r\n\x1a\n\0\0", "is a picture (PNG): run OCR first, e.g. tesseract"),
    "photo.jpg": (b"\xff\xd8\xff\xe0\0\x10JFIF", "is a picture (JPEG): run OCR first"),
    "old.ps": (
        b"%!PS-Adobe-3.0\n(text) show",
        "is PostScript: make a PDF of it first, e.g. ps2pdf",
    ),
    "all.7z": (b"7z\xbc\xaf\x27\x1c\0\0", "is an archive (7z): unpack it"),
    "all.tar": (b"a.txt".ljust(257, b"\0") + b"ustar", "is an archive (tar): unpack it"),
    "talk.mp3": (b"ID3\x04\0\0\0", "is sound or film (MP3): transcribe it first"),
    "talk.mp4": (b"\0\0\0\x20ftypisom", "is sound or film (MP4): transcribe it first"),
    "tool.exe": (b"MZ\x90\0\x03\0", "is a program, binary (Windows)"),
    "tool": (b"\x7fELF\x02\x01\0", "is a program, binary (ELF)"),
    "data.db": (b"SQLite format 3\0", "is a database (SQLite): export its tables as .csv"),
    "data.parquet": (b"PAR1\x15\0", "is a binary table (Parquet): export it as .csv"),
}
CASES = [
    Case(
        "chapters in their order, with titles",
        "book.epub",
        _book(),
        holds=("The River\n\nIt is 10^3 km long.\n\nThe Bridge\n\nIt opened in 1901.",),
        n_pages=2,
    ),
    Case(
        "a chapter that is missing",
        "torn.epub",
        _book(spine='<itemref idref="c"/>'),
        holds=("The River", "1901"),
        notices=("its part 'c' is missing",),
        n_pages=2,
    ),
    Case(
        "a book that its shop encrypted",
        "locked.epub",
        _book({"META-INF/encryption.xml": _LOCKED}),
        refused="is encrypted by the shop that sold it",
    ),
    Case(
        "a book without its list of parts",
        "broken.epub",
        _book({"META-INF/container.xml": "<a/>"}),
        refused="is a damaged .epub",
    ),
    Case(
        "text that gzip packed",
        "log.txt.gz",
        _packed("The café opened.\n".encode()),
        holds=("The café opened.",),
    ),
    Case(
        "a web page that gzip packed",
        "page.gz",
        _packed(b"<p>10<sup>11</sup> stars</p>", "page.html"),
        holds=("10^11 stars",),
        lacks=("<p>",),
    ),
    Case("300 MB that gzip packed", "bomb.gz", _bomb, refused="unpacks to more than the limit"),
    Case("gzip cut short", "cut.gz", raw(gzip.compress(b"text" * 99)[:20]), refused="cut short"),
    *[Case("binary", name, raw(data), refused=advice) for name, (data, advice) in _FIRST.items()],
]
