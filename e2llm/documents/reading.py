"""The text of a file: open it, choose its format, clean what the format's reader gives.

The content's first bytes decide the format, then the suffix: a `.txt` that starts with `%PDF-` is a
PDF. Everything unknown is text. No file can run code: no pickle, no external entities.

Standard input (`-`, `/dev/stdin`) and the pipe of a process substitution (`<(command)`, which is
`/dev/fd/N`) are read, for this process holds them open already. A named pipe or a device is refused
without being opened, because that could block for ever.
"""

import os
import re
import stat
import sys

from e2llm.documents import formats
from e2llm.documents.formats.base import Content
from e2llm.documents.formats.encoding import decode
from e2llm.documents.source import Source
from e2llm.errors import E2LLMError, ReadError

PAGE_SEPARATOR = "\n\n"
# Of a name: controls, line ends, lone surrogates, and what turns the direction of a line.
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def read(path: str | os.PathLike[str], encoding: str | None = None) -> Source:
    """Read the file at `path` ("-" is standard input) into text with line feeds for line breaks.

    `encoding` overrides what the bytes say; without it text is UTF-8, or UTF-16 or UTF-32 with a
    byte order mark, and HTML is what it declares.

    Raises:
        ReadError: the file is missing, empty, binary, damaged, encrypted, without text or in
            another encoding.
        UserError: Python knows no encoding of that name.
        MissingPackageError: the format needs a package of the extra `documents`.
    """
    path = os.fspath(path)
    # repr keeps line breaks and undecodable bytes of a name out of the message.
    shown = "standard input" if path == "-" else repr(path)
    # An encoding that Python does not know is refused before the file is opened.
    if encoding is not None:
        decode(b"", encoding)
    try:
        data = _load(path)
        if not data:
            raise ReadError("is empty: give a file that has text")
        suffix = os.path.splitext(path)[1].lower()
        content = formats.choose(data, suffix).read(data, encoding)
    except ReadError as error:
        raise ReadError(f"{shown} {error}") from error
    except (E2LLMError, MemoryError):
        raise
    # Parsers fail on damaged files with whatever comes: KeyError, RecursionError, struct.error ...
    except Exception as error:
        raise ReadError(
            f"{shown} cannot be parsed ({type(error).__name__}), it may be damaged: open it in its "
            "program and save it again"
        ) from error

    name = "stdin" if path == "-" else printable(os.path.basename(path))
    source = make_source(name, content)
    if not source.text.strip():
        raise ReadError(
            f"{shown} has no text, only white space or mark-up: give a file that has text"
        )
    return source


def printable(name: str) -> str:
    """Return a name of one line, as it is shown, stored and read by the decoder.

    What is no printable character is a question mark there.
    """
    return _UNPRINTABLE.sub("?", name)


def make_source(name: str, content: str | Content) -> Source:
    """Clean what a format's reader gives, and join its parts."""
    if isinstance(content, str):
        content = Content([content])
    parts: list[str] = []
    page_starts: list[int] = []
    record_starts: list[int] = []
    end = 0
    for number, part in enumerate(content.parts):
        if number:
            parts.append(PAGE_SEPARATOR)
            end += len(PAGE_SEPARATOR)
        page_starts.append(end)
        for record in (part,) if isinstance(part, str) else part:
            if not isinstance(part, str):
                record_starts.append(end)
            parts.append(_clean(record))
            end += len(parts[-1])
    return Source(
        name,
        "".join(parts),
        tuple(page_starts) if content.unit else (),
        content.unit or "page",
        tuple(record_starts),
        content.notices,
    )


def _load(path: str) -> bytes:
    try:
        if path in ("-", "/dev/stdin"):
            # None where the process was started with standard input closed.
            stream = getattr(sys.stdin, "buffer", None)
            if stream is None:
                raise ReadError("is closed: pipe some text into it, or name a file")
            return stream.read()
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise ReadError("is a directory: read its files with `read_folder`, or name them")
        if not stat.S_ISREG(mode):
            descriptor = re.fullmatch(r"/(?:dev|proc/self)/fd/(\d+)", path)
            if not (descriptor and stat.S_ISFIFO(mode)):
                raise ReadError(
                    "is a pipe or a device, not a file: send its content to standard input and "
                    "give '-'"
                )
            with open(int(descriptor[1]), "rb", closefd=False) as pipe:
                return pipe.read()
        with open(path, "rb") as file:
            # As it is now: a file that is being written might never end. Some of the system's own
            # have no size.
            n_bytes = os.fstat(file.fileno()).st_size
            return file.read(n_bytes or -1)
    except FileNotFoundError as error:
        raise ReadError("does not exist: check the path") from error
    except PermissionError as error:
        raise ReadError(
            "may not be read by this user: change its permissions, e.g. with chmod"
        ) from error
    except ReadError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a path that holds a NUL
        raise ReadError(
            f"cannot be opened ({getattr(error, 'strerror', None) or error}): check the path"
        ) from error


def _clean(text: str) -> str:
    """Normalise line breaks, and replace what no tokenizer or database takes.

    That is NUL and lone surrogates; whole pairs of them become their character.
    """
    # In UTF-16 the halves of a pair meet again, and a lone half is no character.
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")
