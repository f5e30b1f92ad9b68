"""Binary files that hold no text: their first bytes tell them, and each kind has its advice."""

from collections.abc import Callable
from typing import NoReturn

from e2llm.documents.formats.base import Format
from e2llm.errors import ReadError

_OCR = "is a picture ({}): run OCR first, e.g. tesseract IN OUT, and give OUT.txt"
_UNPACK = "is an archive ({}): unpack it and give its files"
_MEDIA = "is sound or film ({}): transcribe it first, and give the text or its subtitles"
_PROGRAM = "is a program, binary ({}): give its source or its documentation"
_TABLE = "is a binary table ({}): export it as .csv"
# The first bytes, what stands at an offset (a RIFF file's kind, say), and its advice.
_KINDS: tuple[tuple[bytes, int, bytes, str, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", 0, b"", "PNG", _OCR),
    (b"\xff\xd8\xff", 0, b"", "JPEG", _OCR),
    (b"GIF87a", 0, b"", "GIF", _OCR),
    (b"GIF89a", 0, b"", "GIF", _OCR),
    (b"II*\0", 0, b"", "TIFF", _OCR),
    (b"MM\0*", 0, b"", "TIFF", _OCR),
    (b"BM", 6, b"\0\0\0\0", "BMP", _OCR),
    (b"RIFF", 8, b"WEBP", "WebP", _OCR),
    (b"\0\0\0", 4, b"ftyphei", "HEIC", _OCR),
    (b"\0\0\0", 4, b"ftypavif", "AVIF", _OCR),
    (b"AT&TFORM", 0, b"", "DjVu", "is a scan ({}): take its text first, e.g. djvutxt IN OUT.txt"),
    (b"%!PS", 0, b"", "PostScript", "is {}: make a PDF of it first, e.g. ps2pdf IN.ps OUT.pdf"),
    (b"\xc5\xd0\xd3\xc6", 0, b"", "EPS", "is {}: make a PDF of it first, e.g. ps2pdf IN OUT.pdf"),
    (b"7z\xbc\xaf\x27\x1c", 0, b"", "7z", _UNPACK),
    (b"Rar!\x1a\x07", 0, b"", "RAR", _UNPACK),
    (b"\xfd7zXZ\0", 0, b"", "xz", _UNPACK),
    (b"BZh", 4, b"1AY&SY", "bzip2", _UNPACK),
    (b"\x28\xb5\x2f\xfd", 0, b"", "Zstandard", _UNPACK),
    (b"", 257, b"ustar", "tar", _UNPACK),
    (b"!<arch>\n", 0, b"", "ar or deb", _UNPACK),
    (b"ID3", 0, b"", "MP3", _MEDIA),
    (b"\xff\xfb", 0, b"", "MP3", _MEDIA),
    (b"\xff\xf3", 0, b"", "MP3", _MEDIA),
    (b"OggS", 0, b"", "Ogg", _MEDIA),
    (b"fLaC", 0, b"", "FLAC", _MEDIA),
    (b"RIFF", 8, b"WAVE", "WAV", _MEDIA),
    (b"RIFF", 8, b"AVI ", "AVI", _MEDIA),
    (b"\x1a\x45\xdf\xa3", 0, b"", "Matroska", _MEDIA),
    (b"\0\0\0", 4, b"ftyp", "MP4", _MEDIA),
    (b"\x7fELF", 0, b"", "ELF", _PROGRAM),
    (b"MZ", 3, b"\0", "Windows", _PROGRAM),
    (b"\xcf\xfa\xed\xfe", 0, b"", "macOS", _PROGRAM),
    (b"\xca\xfe\xba\xbe", 0, b"", "Java or macOS", _PROGRAM),
    (b"\0asm", 0, b"", "WebAssembly", _PROGRAM),
    (
        b"SQLite format 3\0",
        0,
        b"",
        "SQLite",
        "is a database ({}): export its tables as .csv, e.g. with sqlite3 -csv",
    ),
    (b"PAR1", 0, b"", "Parquet", _TABLE),
    (b"ARROW1", 0, b"", "Arrow", _TABLE),
    (b"\x89HDF\r\n", 0, b"", "HDF5", _TABLE),
    (b"\x93NUMPY", 0, b"", "NumPy", _TABLE),
    (
        b"",
        60,
        b"BOOKMOBI",
        "Mobipocket",
        "is a book ({}): convert it, e.g. ebook-convert IN OUT.epub",
    ),
    (b"wOF", 0, b"", "WOFF", "is a font ({}): it has no text"),
    (b"OTTO\0", 0, b"", "OpenType", "is a font ({}): it has no text"),
)


def refuse_binary(data: bytes, encoding: str | None) -> NoReturn:
    """Say what to do with a file of the first kind that it is of."""
    for kind in _KINDS:
        if _is(kind)(data):
            raise ReadError(kind[4].format(kind[3]))
    raise ReadError("is a binary file: convert it to text first")


def _is(kind: tuple[bytes, int, bytes, str, str]) -> Callable[[bytes], bool]:
    first, offset, then, _, _ = kind
    return lambda data: data.startswith(first) and data.startswith(then, offset)


BINARIES = tuple(Format(kind[3], (), refuse_binary, (kind[0],), _is(kind)) for kind in _KINDS)
