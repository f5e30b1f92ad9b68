"""Zip archives, in which formats lie: opened only where they unzip to a bearable size."""

import io
import zipfile

from e2llm.errors import ReadError

ZIP_BYTES = (b"PK\x03\x04", b"PK\x05\x06")  # of an archive with members, and of one without
MAX_UNZIPPED_BYTES = 2**30


def open_archive(data: bytes) -> zipfile.ZipFile:
    """Open a zip archive, of which nothing is unzipped yet.

    Raises:
        ReadError: It is damaged, or unzips to more than the limit.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except zipfile.BadZipFile as error:
        raise ReadError(
            "is a damaged .docx or zip: open it in its program and save it again"
        ) from error
    # As the archive's directory has it; nothing is unzipped to know it.
    unzipped_bytes = sum(member.file_size for member in archive.infolist())
    if unzipped_bytes > MAX_UNZIPPED_BYTES:
        raise ReadError(
            f"unzips to {unzipped_bytes:,} bytes, over the limit of {MAX_UNZIPPED_BYTES:,}: split "
            "it, or save it as text"
        )
    return archive
