"""PDF: forms, pictures among pages, raised text, notes, files within, fonts without a map."""

import io
from collections.abc import Callable
from pathlib import Path

import pypdf
from pypdf.annotations import FreeText, Text
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Paragraph, SimpleDocTemplate

from tests.documents.cases import Case, Make

PROSE = "The council met at noon and agreed to pay for the new bridge over the river."


def _drawn(*pages: Callable[[Canvas], object]) -> Make:
    """Draw pages, each by a function."""

    def make(path: Path) -> None:
        canvas = Canvas(str(path))
        for draw in pages:
            draw(canvas)
            canvas.showPage()
        canvas.save()

    return make


def _says(*lines: str) -> Callable[[Canvas], object]:
    def draw(canvas: Canvas) -> None:
        for number, line in enumerate(lines):
            canvas.drawString(72, 720 - 20 * number, line)

    return draw


def _picture(stamp: str = "") -> Callable[[Canvas], object]:
    def draw(canvas: Canvas) -> None:
        canvas.rect(50, 50, 500, 700, fill=1)
        canvas.drawString(300, 20, stamp)

    return draw


def _form(canvas: Canvas) -> None:
    form = canvas.acroForm
    canvas.drawString(72, 720, "Name:")
    form.textfield(name="name", x=120, y=712, width=200, height=20, value="Ada Lovelace")
    canvas.drawString(72, 690, "Member:")
    form.checkbox(name="member", x=140, y=685, size=16, checked=True)
    canvas.drawString(72, 660, "City:")
    form.choice(
        name="city", x=120, y=652, width=120, height=20, options=["Paris", "Bern"], value="Bern"
    )
    canvas.drawString(72, 630, "End of the form.")
    form.textfield(name="remark", x=20, y=300, width=200, height=20, value="Call me")


def _styled(markup: str) -> Make:
    def make(path: Path) -> None:
        style = getSampleStyleSheet()["Normal"]
        SimpleDocTemplate(str(path)).build([Paragraph(markup, style)])

    return make


def _changed(change: Callable[[pypdf.PdfWriter], object], *lines: str) -> Make:
    """Draw one page, and change it by pypdf."""

    def make(path: Path) -> None:
        _drawn(_says(*lines or (PROSE,)))(path)
        writer = pypdf.PdfWriter(clone_from=io.BytesIO(path.read_bytes()))
        change(writer)
        writer.write(path)

    return make


def _annotate(writer: pypdf.PdfWriter) -> None:
    writer.add_annotation(0, Text(rect=(50, 550, 200, 650), text="Who pays\nfor this?"))
    writer.add_annotation(0, FreeText(rect=(50, 450, 200, 500), text="Approved by Bo"))


def _without_map(path: Path) -> None:
    """Draw text in a font whose glyphs have names that say nothing."""
    glyphs = " ".join(f"/g{number}" for number in range(32, 127))
    text = (PROSE * 3).encode().hex()
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<</Font<</F 5 0 "
        "R>>>>>>",
        f"<</Length {len(text) + 40}>> stream\nBT /F 12 Tf 72 720 Td <{text}> Tj ET\nendstream",
        "<</Type/Font/Subtype/Type3/FontBBox[0 0 1 1]/FontMatrix[1 0 0 1 0 0]/FirstChar 32"
        f"/LastChar 126/Widths[{'1 ' * 95}]/CharProcs<<>>/Encoding<</Differences[32 {glyphs}]>>>>",
    ]
    body = "".join(f"{number} 0 obj {one} endobj\n" for number, one in enumerate(objects, 1))
    path.write_text(f"%PDF-1.7\n{body}trailer <</Root 1 0 R/Size 6>>\n%%EOF\n")


def _page_tree(kids: str, count: int) -> Make:
    def make(path: Path) -> None:
        path.write_text(
            "%PDF-1.7\n1 0 obj <</Type/Catalog/Pages 2 0 R>> endobj\n"
            f"2 0 obj <</Type/Pages/Kids[{kids}]/Count {count}>> endobj\n"
            "trailer <</Root 1 0 R/Size 3>>\n%%EOF\n"
        )

    return make


def _forms_in_forms(path: Path) -> None:
    """Draw ten times what draws ten times what ..., twelve deep."""
    head = "/Type/XObject/Subtype/Form/BBox[0 0 9 9]"
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R/Resources<</XObject<</X 5 0 "
        "R>>>>>>",
        "<</Length 5>> stream\n/X Do\nendstream",
        *(
            f"<<{head}/Resources<</XObject<</X {number} 0 R>>>>/Length 60>> stream\n"
            + "/X Do " * 10
            + "\nendstream"
            for number in range(6, 18)
        ),
        f"<<{head}/Length 1>> stream\n \nendstream",
    ]
    body = "".join(f"{number} 0 obj {one} endobj\n" for number, one in enumerate(objects, 1))
    path.write_text(f"%PDF-1.7\n{body}trailer <</Root 1 0 R/Size 18>>\n%%EOF\n")


def _running(number: int) -> Callable[[Canvas], object]:
    def draw(canvas: Canvas) -> None:
        _says(
            "Annual report of the council", f"Fact {number} is told.", f"Total {number * number}"
        )(canvas)
        canvas.drawString(300, 20, f"Page {number} of 4")

    return draw


def _columns(canvas: Canvas) -> None:
    for side, x in (("left", 72), ("right", 330)):
        for line in range(12):
            canvas.drawString(x, 700 - 14 * line, f"{side} column, line {line}")


CASES = [
    Case(
        "values of a form",
        "form.pdf",
        _drawn(_form),
        holds=(
            "Name: Ada Lovelace\nMember: [x]\nCity: Bern\nEnd of the form.",
            "remark: Call me",
        ),
        n_pages=1,
    ),
    Case(
        "pictures among pages of text",
        "mixed.pdf",
        _drawn(_says(PROSE), *[_picture()] * 5),
        holds=(PROSE,),
        notices=(
            "pages 2-6 of 6 hold no text: they are pictures; run OCR first, e.g. ocrmypdf IN.pdf "
            "OUT.pdf",
        ),
        n_pages=6,
    ),
    Case(
        "a scan with stamped page numbers",
        "stamped.pdf",
        _drawn(*[_picture(str(number)) for number in range(1, 9)]),
        refused="has pages but no text but what is stamped on its pages, it may be scanned",
    ),
    Case(
        "a scan with a header",
        "header.pdf",
        _drawn(*[_picture(f"Exhibit A, page {number}") for number in range(1, 9)]),
        refused="run OCR first, e.g. ocrmypdf IN.pdf OUT.pdf",
    ),
    Case("a scan", "scan.pdf", _drawn(_picture(), _picture()), refused="has pages but no text, "),
    Case(
        "a font without a character map",
        "unmapped.pdf",
        _without_map,
        refused="does not say which characters its fonts draw",
    ),
    Case(
        "raised and lowered text",
        "raised.pdf",
        _styled(
            "About 10<super>11</super> stars, 5 m<super>2</super> of CO<sub>2</sub>, the 1<super>st"
            "</super>."
        ),
        holds=("About 10^11 stars, 5 m^2 of CO_2, the 1st.",),
        n_pages=1,
    ),
    Case(
        "notes",
        "notes.pdf",
        _changed(_annotate),
        holds=(f"{PROSE}\n\nNote: Who pays for this?\n\nNote: Approved by Bo",),
        n_pages=1,
    ),
    Case(
        "a file within",
        "attached.pdf",
        _changed(lambda writer: writer.add_attachment("costs.csv", b"a,b")),
        holds=(PROSE,),
        notices=("the file 'costs.csv' in it is not read",),
        n_pages=1,
    ),
    Case(
        "an owner's password",
        "owner.pdf",
        _changed(lambda writer: writer.encrypt("", "owner", algorithm="RC4-128")),
        holds=(PROSE,),
        n_pages=1,
    ),
    Case(
        "an owner's password, AES-256",
        "aes.pdf",
        _changed(lambda writer: writer.encrypt("", "owner", algorithm="AES-256")),
        holds=(PROSE,),
        n_pages=1,
    ),
    Case(
        "a user's password",
        "user.pdf",
        _changed(lambda writer: writer.encrypt("user", "owner", algorithm="AES-256")),
        refused="is encrypted: save it without its password",
    ),
    Case(
        "running headers and footers",
        "running.pdf",
        _drawn(*map(_running, range(1, 5))),
        holds=("Annual report", "Page 1 of 4", "Fact 2", "Total 4", "Fact 3", "Total 9"),
        lacks=("Page 2 of 4", "Page 4 of 4"),
        n_pages=4,
    ),
    Case(
        "two columns",
        "columns.pdf",
        _drawn(_columns),
        holds=("left column, line 11\nright column, line 0",),
        n_pages=1,
    ),
    Case(
        "a loop in its page tree",
        "loop.pdf",
        _page_tree("2 0 R 2 0 R", 2),
        refused="has no pages that can be read, it may be damaged",
    ),
    Case(
        "a million pages, it says",
        "million.pdf",
        _page_tree("", 1_000_000),
        refused="over the limit of 100,000",
    ),
    Case(
        "a page that takes for ever",
        "ever.pdf",
        _forms_in_forms,
        refused="cannot be read at page 1 of 1, which takes too long or too much memory",
    ),
]
