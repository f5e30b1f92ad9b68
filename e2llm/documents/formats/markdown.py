"""Markdown, read as it stands: its marks are part of the text that a decoder was trained on."""

from e2llm.documents.formats.base import Format
from e2llm.documents.formats.text import read_text

MARKDOWN = Format("md", (".md",), read_text)
