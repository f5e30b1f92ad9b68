"""E-mail: one message, a mailbox of them, and web pages saved as one (`.mhtml`)."""

import email
import email.policy
import re
from collections.abc import Iterator
from email.message import EmailMessage, MIMEPart
from pathlib import PurePath

from e2llm.documents.formats.base import Content, Format, import_package
from e2llm.documents.formats.encoding import decode_any
from e2llm.documents.formats.html_text import page_text
from e2llm.errors import E2LLMError, ReadError

# Attachments of attachments are read down to this depth, and this many parts of a message at most.
MAX_DEPTH = 4
MAX_PARTS = 1000
_HEADERS = ("From", "To", "Cc", "Date", "Subject")
_POLICY = email.policy.default.clone(raise_on_defect=False)
_FIRST_LINE = re.compile(
    rb"(?:Return-Path|Received|Delivered-To|From|Date|Message-I[dD]|MIME-Version|Subject):"
    rb"[^\n]*\n"
    rb"(?:[ \t][^\n]*\n|[A-Za-z-]{2,60}:[^\n]*\n)*?"
    rb"(?:From|Date|Subject|MIME-Version|Message-I[dD]):"
)
_ENVELOPE = re.compile(rb"(?m)^From [^\n]{3,200}\d\d:\d\d[^\n]*\n(?=[A-Za-z-]+:)")
_PROTECTED = ("application/pkcs7-mime", "application/x-pkcs7-mime", "multipart/encrypted")
_SIGNATURES = ("application/pgp-signature", "application/pkcs7-signature")


def read_eml(data: bytes, encoding: str | None) -> Content:
    """Return one message: its headers, its text and the attachments that a format reads."""
    text, notices = _message_text(data)
    return Content([text], None, tuple(notices))


def read_mbox(data: bytes, encoding: str | None) -> Content:
    """Return the messages of a mailbox, each a part."""
    starts = [match.start() for match in _ENVELOPE.finditer(data)]
    parts: list[str] = []
    notices: list[str] = []
    for number, start in enumerate(starts, 1):
        end = starts[number] if number < len(starts) else len(data)
        body = data[start:end].split(b"\n", 1)[1]
        text, said = _message_text(re.sub(rb"(?m)^>(>*From )", rb"\1", body))
        parts.append(text)
        notices += [f"message {number}: {notice}" for notice in said]
    if not parts:
        raise ReadError("is no mailbox, for no line begins with 'From ': give it as .eml or .txt")
    return Content(parts, "message", tuple(notices))


def read_mhtml(data: bytes, encoding: str | None) -> Content:
    """Return the text of a web page that was saved with all that belongs to it."""
    message = _parse(data)
    page = message.get_body(("html", "plain"))
    if page is None:
        raise ReadError("has no page in it: save it again, as a web page of one file")
    title = _header(message, "Subject")
    page_says = _part_text(page)
    known = not title or page_says.startswith(title)
    return Content([page_says if known else f"{title}\n\n{page_says}"])


def _parse(data: bytes) -> EmailMessage:
    message = email.message_from_bytes(data, policy=_POLICY)
    assert isinstance(message, EmailMessage)
    return message


def _message_text(data: bytes, depth: int = 0) -> tuple[str, list[str]]:
    message = _parse(data)
    blocks = ["\n".join(f"{name}: {said}" for name in _HEADERS if (said := _header(message, name)))]
    notices: list[str] = []
    if message.get_content_type() in _PROTECTED:
        notices.append("it is encrypted and was not read: save it from the mail program as text")
    else:
        body = message.get_body(("plain", "html"))
        if body is not None:
            blocks.append(_part_text(body).strip("\n"))
        for part in _attachments(message, body):
            attached, said_of_it = _attachment_text(part, depth)
            blocks.append(attached)
            notices += said_of_it
    return "\n\n".join(filter(None, blocks)), notices


def _header(message: EmailMessage, name: str) -> str:
    """Return a header in one line, its encoded words decoded."""
    try:
        return " ".join(str(message.get(name, "")).split())
    # The package's own parser of addresses fails on some that are none.
    except (ValueError, IndexError, AttributeError, TypeError, LookupError):
        return " ".join(str(dict(message.raw_items()).get(name, "")).split())


def _attachments(message: EmailMessage, body: MIMEPart | None) -> Iterator[MIMEPart]:
    """Yield the parts that are neither the text, nor another form of it, nor its pictures."""
    todo: list[MIMEPart] = [message]
    n_parts = 0
    while todo and n_parts < MAX_PARTS:
        part = todo.pop(0)
        n_parts += 1
        kind = part.get_content_type()
        if part.is_multipart() and kind != "message/rfc822":
            inside = [one for one in part.iter_parts() if isinstance(one, MIMEPart)]
            if kind == "multipart/alternative":
                inside = [one for one in inside if one.is_multipart()]
            elif kind == "multipart/related":
                inside = [one for one in inside if not one.get("Content-ID")]
            todo[:0] = inside
        elif part is not body and part is not message and kind not in _SIGNATURES:
            yield part


def _attachment_text(part: MIMEPart, depth: int) -> tuple[str, list[str]]:
    """Return the text of an attachment under its name; a notice where no format reads it."""
    from e2llm.documents.formats import choose  # which lists this format

    name = " ".join((part.get_filename() or "").split())
    if part.get_content_type() == "message/rfc822":
        inner = part.get_payload()
        first = inner[0] if isinstance(inner, list) and inner else None
        data = first.as_bytes() if isinstance(first, MIMEPart) else b""
        name, suffix = name or "message", ".eml"
    else:
        payload = part.get_payload(decode=True)
        data = payload if isinstance(payload, bytes) else b""
        if not name and part.get_content_maintype() == "text":
            return _part_text(part).strip("\n"), []
        suffix = PurePath(name).suffix.lower()
    shown = name or part.get_content_type()
    if depth >= MAX_DEPTH:
        return "", [f"the attachment {shown!r} was not read, for it lies too deep"]
    try:
        if suffix == ".eml":
            text, notices = _message_text(data, depth + 1)
        else:
            content = choose(data, suffix).read(data, None)
            if isinstance(content, str):
                content = Content([content])
            text = "\n\n".join(
                one if isinstance(one, str) else "".join(one) for one in content.parts
            )
            notices = list(content.notices)
    except E2LLMError as error:
        return "", [f"the attachment {shown!r} was not read: it {error}"]
    except Exception as error:  # parsers fail on damaged files with whatever comes
        return "", [
            f"the attachment {shown!r} was not read, it may be damaged ({type(error).__name__})"
        ]
    return f"Attachment: {shown}\n\n{text}", [f"the attachment {shown!r}: {one}" for one in notices]


def _part_text(part: MIMEPart) -> str:
    """Return the text of a part in its own encoding; of a web page what it shows."""
    payload = part.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else b""
    try:
        text, _ = decode_any(data, None, part.get_content_charset())
    except E2LLMError:
        text = data.decode("latin-1")
    if part.get_content_subtype() == "html":
        return page_text(text, import_package("lxml.etree", "lxml", ".html"))
    return text


EML = Format("eml", (".eml",), read_eml, looks_like=lambda data: bool(_FIRST_LINE.match(data)))
MBOX = Format("mbox", (".mbox",), read_mbox, looks_like=lambda data: bool(_ENVELOPE.match(data)))
MHTML = Format("mhtml", (".mhtml", ".mht"), read_mhtml)
