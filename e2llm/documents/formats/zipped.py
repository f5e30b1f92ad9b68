"""Zip archives, in which formats lie: what is read of them is counted, and has a limit.

An archive's directory can lie about sizes, and parts can be tiny and unzip to gigabytes. So only
what a reader asks for is unzipped, piece by piece, and what really comes out is counted.
"""

import io
import zipfile
import zlib
from typing import Any

from e2llm.errors import ReadError

ZIP_BYTES = (b"PK\x03\x04", b"PK\x05\x06")  # of an archive with members, and of one without
MAX_UNZIPPED_BYTES = 200 * 2**20
MAX_MEMBERS = 100_000
_PIECE_BYTES = 2**16
_DAMAGED = "is a damaged .docx or zip: open it in its program and save it again"
# The methods of every document; Python unzips the others without a limit.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class Archive(zipfile.ZipFile):
    """A zip whose members are read to a limit, all of them together.

    Names are matched without their case, with slashes of either direction.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self._members = {_normal(member.filename): member for member in self.infolist()}
        self._room_bytes = MAX_UNZIPPED_BYTES

    def has(self, name: str) -> bool:
        """Say whether there is such a member."""
        return _normal(name) in self._members

    def read(self, name: Any, pwd: bytes | None = None) -> bytes:
        """Unzip a member as `load` does; what is not there is a KeyError."""
        name = getattr(name, "filename", name)
        if not self.has(name):
            raise KeyError(name)
        return self.load(name)

    def load(self, name: str) -> bytes:
        """Unzip a member; what is not there is empty.

        Raises:
            ReadError: It is damaged or encrypted, or with it more than the limit is unzipped.
        """
        member = self._members.get(_normal(name))
        if member is None:
            return b""
        if member.flag_bits & 1:
            raise ReadError("is an encrypted zip: save it without a password")
        if member.compress_type not in _METHODS:
            raise ReadError(
                "is packed by a method that no document has: unzip it and pack it as a usual zip"
            )
        pieces = []
        try:
            with self.open(member) as file:
                while piece := file.read(_PIECE_BYTES):
                    self._room_bytes -= len(piece)
                    if self._room_bytes < 0:
                        raise ReadError(
                            f"unzips to more than the limit of {MAX_UNZIPPED_BYTES:,} bytes: split "
                            "it, or save it as text"
                        )
                    pieces.append(piece)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise ReadError(_DAMAGED) from error
        return b"".join(pieces)


def open_archive(data: bytes, whole: bool = False) -> Archive:
    """Open a zip archive, of which nothing is unzipped yet.

    Args:
        data: The file's content.
        whole: Whether all of it is unzipped once to see how much it is, for a library that opens it
            itself.

    Raises:
        ReadError: It is damaged, has more members than any document, or unzips to more than the
            limit.
    """
    try:
        archive = Archive(data)
    # Beside its own error: what its directory's fields fail with.
    except (zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError) as error:
        raise ReadError(_DAMAGED) from error
    if len(archive.filelist) > MAX_MEMBERS:
        raise ReadError(
            f"is a zip of {len(archive.filelist):,} members, over the limit of {MAX_MEMBERS:,}: "
            "unzip it and give its files"
        )
    if whole:
        for name in archive.namelist():
            archive.load(name)
        archive = Archive(data)
    return archive


def _normal(name: str) -> str:
    return name.replace("\\", "/").lstrip("/").lower()
