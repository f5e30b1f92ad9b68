"""From bytes to characters, for the formats that are text: marks, decoding, and its errors."""

import codecs

from e2llm.documents.formats.guessing import guess_encoding, guess_wide, n_controls
from e2llm.errors import ReadError, UserError

# Of more characters than this share, bytes that an encoding does not have tell of another one.
MAX_STRAY_SHARE = 0.01
_BINARY = "is a binary file: convert it to text first"

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


def decode_any(
    data: bytes, encoding: str | None, declared: str | None = None
) -> tuple[str, tuple[str, ...]]:
    """Decode `data` by whatever tells its encoding; return the text, and notices of what was done.

    The first of these decides: `encoding`, the byte order mark, `declared`, what UTF-8 allows, and
    a guess, which is noticed. A few bytes that the encoding does not have are replaced and counted.

    Args:
        encoding: What the user named, which overrules the bytes.
        declared: What the file says of itself in its own way.

    Raises:
        ReadError: It is binary, or its encoding is not to be told or another than said.
        UserError: Python knows no encoding of that name.
        MissingPackageError: charset-normalizer, which is not installed, has to guess.
    """
    said = encoding or marked_encoding(data) or declared
    if said:
        return _decode_mostly(data, said)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace")
        # Two bytes of another encoding are seldom a character of UTF-8.
        n_other = sum(char > "\x7f" for char in text)
        if "\0" not in text and n_other > 3 * _count_strays(data, "utf-8", text):
            return _with_strays(data, "utf-8", text)
    else:
        if "\0" not in text:
            return text, ()
    found = guess_wide(data) if "\0" in text else guess_encoding(data)
    text = data.decode(found, "replace") if found else text
    if not found or n_controls(text) > MAX_STRAY_SHARE * len(text):
        raise ReadError(_BINARY)
    text, notices = _with_strays(data, found, text)
    return text, (
        f"it does not say its encoding and was read as {found}: if that is wrong, name another "
        "with --encoding",
        *notices,
    )


def _decode_mostly(data: bytes, encoding: str) -> tuple[str, tuple[str, ...]]:
    """Decode what is said to be in an encoding, and is so but for a few bytes."""
    try:
        return decode(data, encoding), ()
    except ReadError:
        text = data.decode(encoding, "replace").removeprefix("\ufeff")
        if "\0" in text or _count_strays(data, encoding, text) > MAX_STRAY_SHARE * len(text):
            raise
        return _with_strays(data, encoding, text)


def _with_strays(data: bytes, encoding: str, text: str) -> tuple[str, tuple[str, ...]]:
    """Return a text, with a notice of the bytes that were replaced in it."""
    n_strays = _count_strays(data, encoding, text)
    if not n_strays:
        return text, ()
    what = "1 byte is" if n_strays == 1 else f"{n_strays:,} bytes are"
    return text, (f"{what} no {encoding.upper()} and became \ufffd",)


def _count_strays(data: bytes, encoding: str, text: str) -> int:
    return text.count("\ufffd") - data.decode(encoding, "ignore").count("\ufffd")


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
            raise ReadError(_BINARY) from error
        byte = f"byte 0x{data[error.start]:02x} at offset {error.start}"
        raise ReadError(
            f"is not {encoding.upper()} ({byte}): name another with --encoding, or none and it is "
            "guessed"
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
