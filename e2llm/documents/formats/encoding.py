"""From bytes to characters, for the formats that are text: marks, decoding, and its errors."""

import codecs

from e2llm.errors import ReadError, UserError

# The longer marks come first: UTF-16's little-endian mark is a prefix of UTF-32's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def marked_encoding(data: bytes) -> str | None:
    """Return the encoding whose byte order mark `data` begins with; None where it has no mark."""
    return next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)


def decode(data: bytes, encoding: str) -> str:
    """Decode `data`, without its byte order mark.

    Raises:
        ReadError: It is in another encoding, or binary.
        UserError: Python knows no encoding of that name.
    """
    try:
        name = codecs.lookup(encoding).name  # decoding no bytes would accept any name
        text = data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        if b"\0" in data and name == "utf-8":
            raise ReadError("is a binary file: convert it to text first") from error
        byte = f"byte 0x{data[error.start]:02x} at offset {error.start}"
        raise ReadError(
            f"is not {encoding.upper()} ({byte}): name its encoding, e.g. --encoding latin-1"
        ) from error
    except (LookupError, ValueError) as error:
        raise UserError(
            f"encoding (={encoding!r}) is not a text encoding that Python knows: use e.g. utf-8, "
            "latin-1 or cp1252"
        ) from error
    if "\0" in text:
        raise ReadError(
            "has NUL characters, so it is binary or UTF-16 without a mark: convert it to text, or "
            "give --encoding utf-16-le"
        )
    return text
