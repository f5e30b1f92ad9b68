"""Files compressed by gzip: what is in them is read by its own format."""

import zlib
from pathlib import PurePath

from e2llm.documents.formats.base import Content, Format
from e2llm.errors import ReadError

MAX_UNPACKED_BYTES = 2**27
_FIRST_BYTES = b"\x1f\x8b\x08"
_HAS_NAME, _HAS_EXTRA = 8, 4


def read_gz(data: bytes, encoding: str | None) -> str | Content:
    """Return the text of what it holds; the name that it stores and first bytes tell the format."""
    from e2llm.documents.formats import choose  # which lists this format

    unpacked = _unpack(data)
    if unpacked.startswith(_FIRST_BYTES):
        raise ReadError("is packed twice: unpack it, e.g. with gunzip, and give what is in it")
    return choose(unpacked, _suffix(data)).read(unpacked, encoding)


def _unpack(data: bytes) -> bytes:
    """Return what all members of a gzip file hold together."""
    parts: list[bytes] = []
    n_bytes = 0
    while data.startswith(_FIRST_BYTES):
        unpacker = zlib.decompressobj(wbits=31)
        try:
            parts.append(unpacker.decompress(data, MAX_UNPACKED_BYTES - n_bytes + 1))
        except zlib.error as error:
            raise ReadError(
                "is damaged: gunzip may unpack what is left of it, e.g. zcat IN.gz > OUT"
            ) from error
        n_bytes += len(parts[-1])
        if n_bytes > MAX_UNPACKED_BYTES:
            raise ReadError(
                f"unpacks to more than the limit of {MAX_UNPACKED_BYTES:,} bytes: unpack it, e.g. "
                "with gunzip, and split what is in it"
            )
        if not unpacker.eof:
            raise ReadError(
                "is cut short: gunzip may unpack what is left of it, e.g. zcat IN.gz > OUT"
            )
        data = unpacker.unused_data
    return b"".join(parts)


def _suffix(data: bytes) -> str:
    """Return the suffix of the name that gzip stores; empty where it stores none."""
    flags = data[3] if len(data) > 3 else 0
    if not flags & _HAS_NAME:
        return ""
    start = 10
    if flags & _HAS_EXTRA:
        start += 2 + int.from_bytes(data[10:12], "little")
    name = data[start : data.find(b"\0", start)].decode("latin-1")
    return PurePath(name).suffix.lower()


GZ = Format("gz", (".gz",), read_gz, first_bytes=(_FIRST_BYTES,))
