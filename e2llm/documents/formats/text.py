"""Plain text, which is also what every unknown file is read as."""

from e2llm.documents.formats.base import Format
from e2llm.documents.formats.encoding import decode, marked_encoding


def read_text(data: bytes, encoding: str | None) -> str:
    """Decode plain text."""
    return decode(data, encoding or marked_encoding(data) or "utf-8")


TEXT = Format("txt", (".txt", ".rst", ".py"), read_text)
