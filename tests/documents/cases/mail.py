"""E-mail: messages, mailboxes, and web pages saved as one message."""

import mailbox
from email.message import EmailMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path

from tests.documents.cases import Case, Make


def message(text: str = "Wir zahlen 5 € für den Käse.\n", **more: str) -> EmailMessage:
    """Make a message, with more headers than every message has."""
    made = EmailMessage()
    headers = {"From": "Ann Müller <ann@example.org>", "To": "bo@example.org"}
    for name, value in (headers | {"Subject": "Grüße aus Köln"} | more).items():
        made[name] = value
    made.set_content(text, cte="base64")
    return made


def _write(made: EmailMessage | MIMEMultipart) -> Make:
    def make(path: Path) -> None:
        path.write_bytes(made.as_bytes())

    return make


def _with_html() -> EmailMessage:
    made = message("plain words\n")
    made.add_alternative("<p>rich words</p>", subtype="html")
    return made


def _only_html() -> EmailMessage:
    made = message()
    made.set_content("<p>10<sup>11</sup> stars</p><p hidden>no</p>", subtype="html")
    return made


def _attached(data: bytes, name: str, kind: str = "application/octet-stream") -> EmailMessage:
    made = message("See the file.\n")
    made.add_attachment(
        data, maintype=kind.split("/")[0], subtype=kind.split("/")[1], filename=name
    )
    return made


def _nested() -> EmailMessage:
    made = message("the innermost\n")
    for depth in range(8):
        outer = message(f"depth {depth}\n")
        outer.add_attachment(made)
        made = outer
    return made


def _encrypted() -> MIMEMultipart:
    made = MIMEMultipart("encrypted", protocol="application/pgp-encrypted")
    made["From"], made["Subject"] = "ann@example.org", "secret"
    made.attach(MIMEText("-----BEGIN PGP MESSAGE-----", "plain"))
    return made


def _signed() -> MIMEMultipart:
    made = MIMEMultipart("signed", protocol="application/pgp-signature")
    made["From"], made["Subject"] = "ann@example.org", "signed"
    made.attach(MIMEText("I said so.", "plain"))
    made.attach(MIMEText("-----BEGIN PGP SIGNATURE-----", "pgp-signature"))
    made.get_payload()[1].set_type("application/pgp-signature")  # type: ignore[union-attr]
    return made


def _mailbox(path: Path) -> None:
    box = mailbox.mbox(path)
    for number in range(3):
        box.add(
            message(f"From here on, message {number}.\n", Date="Mon, 3 Jun 2024 12:00:00 +0000")
        )
    box.close()


def _saved_page(path: Path) -> None:
    made = MIMEMultipart("related")
    made["From"], made["Subject"] = "<Saved by a browser>", "The bridge"
    page = MIMEText("<html><body><h1>The bridge</h1><p>It opens in Köln.</p></body></html>", "html")
    made.attach(page)
    made.attach(MIMEText("body { color: red }", "css"))
    path.write_bytes(made.as_bytes())


CASES = [
    Case(
        "encoded words and base64",
        "letter.eml",
        _write(message(Cc="Cy <cy@example.org>", Date="Mon, 3 Jun 2024 12:00:00 +0000")),
        holds=(
            "From: Ann Müller <ann@example.org>\nTo: bo@example.org\nCc: Cy <cy@example.org>\n"
            "Date: Mon, 03 Jun 2024",
            "Subject: Grüße aus Köln\n\nWir zahlen 5 € für den Käse.",
        ),
    ),
    Case(
        "plain text and a web page",
        "both.eml",
        _write(_with_html()),
        holds=("plain words",),
        lacks=("rich words",),
    ),
    Case(
        "a web page alone",
        "rich.eml",
        _write(_only_html()),
        holds=("10^11 stars",),
        lacks=("<p>", "no"),
    ),
    Case(
        "an attachment of text",
        "notes.eml",
        _write(_attached("Käse".encode(), "notes.txt", "text/plain")),
        holds=("See the file.\n\nAttachment: notes.txt\n\nKäse",),
    ),
    Case(
        "a picture attached",
        "picture.eml",
        _write(_attached(b"\x89PNG\r\n\x1a\n\0", "plan.png", "image/png")),
        holds=("See the file.",),
        notices=("the attachment 'plan.png' was not read: it is a picture (PNG)",),
    ),
    Case(
        "messages in messages",
        "nested.eml",
        _write(_nested()),
        holds=("depth 7", "depth 6", "depth 3"),
        lacks=("the innermost",),
        notices=("lies too deep",),
    ),
    Case(
        "an encrypted message",
        "secret.eml",
        _write(_encrypted()),
        holds=("Subject: secret",),
        notices=("is encrypted and was not read",),
    ),
    Case(
        "a signed message",
        "signed.eml",
        _write(_signed()),
        holds=("I said so.",),
        lacks=("SIGNATURE",),
    ),
    Case(
        "a mailbox",
        "box.mbox",
        _mailbox,
        holds=("Subject: Grüße", "From here on, message 0.", "From here on, message 2."),
        lacks=("MAILER-DAEMON", ">From"),
        n_pages=3,
    ),
    Case(
        "a web page saved with its parts",
        "page.mhtml",
        _saved_page,
        holds=("The bridge\n\nIt opens in Köln.",),
        lacks=("color",),
    ),
]
