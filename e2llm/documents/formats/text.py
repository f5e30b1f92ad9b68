"""Plain text, which is also what every unknown file is read as."""

from e2llm.documents.formats.base import Content, Format
from e2llm.documents.formats.encoding import decode_any


def read_text(data: bytes, encoding: str | None) -> Content:
    """Decode plain text; see `decode_any` for its encoding."""
    text, notices = decode_any(data, encoding)
    return Content([text], None, notices)


TEXT = Format("txt", (".txt", ".rst"), read_text)
