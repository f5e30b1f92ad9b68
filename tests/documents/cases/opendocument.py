"""OpenDocument texts and presentations, as LibreOffice writes them."""

from pathlib import Path

from odf import dc, draw, office, presentation, style, svg, table, text
from odf.opendocument import OpenDocumentPresentation, OpenDocumentText

from tests.documents.cases import Case
from tests.documents.office_files import change_zip


def _text(*fill):
    """Return what writes a text: each function gets the document and adds to it."""

    def make(path: Path) -> None:
        document = OpenDocumentText()
        for each in fill:
            each(document)
        document.save(str(path))

    return make


def _say(words: str, **attributes):
    return lambda document: document.text.addElement(text.P(text=words, **attributes))


def _headed(document) -> None:
    document.text.addElement(text.H(outlinelevel=1, text="Report"))
    document.text.addElement(text.H(outlinelevel=2, text="Costs"))


def _outlined(document) -> None:
    outline = text.OutlineStyle(name="Outline")
    for level in (1, 2):
        outline.addElement(
            text.OutlineLevelStyle(
                level=level, numformat="1", displaylevels=level, numsuffix="." if level == 1 else ""
            )
        )
    document.styles.addElement(outline)
    for level, words in ((1, "Scope"), (1, "Terms"), (2, "Goods"), (2, "Price")):
        document.text.addElement(text.H(outlinelevel=level, text=words))


def _noted(document) -> None:
    paragraph = text.P(text="It rains")
    note = text.Note(noteclass="footnote")
    note.addElement(text.NoteCitation(text="1"))
    body = text.NoteBody()
    body.addElement(text.P(text="Without the annex."))
    note.addElement(body)
    paragraph.addElement(note)
    paragraph.addText(" in Bonn.")
    document.text.addElement(paragraph)


def _listed(document) -> None:
    numbers = text.ListStyle(name="Numbers")
    for level in (1, 2):
        numbers.addElement(
            text.ListLevelStyleNumber(
                level=level, numformat="1" if level == 1 else "a", numsuffix=")"
            )
        )
    document.automaticstyles.addElement(numbers)
    outer = text.List(stylename="Numbers")
    for words, under in (("one", ()), ("two", ("deep", "deeper")), ("three", ())):
        item = text.ListItem()
        item.addElement(text.P(text=words))
        if under:
            inner = text.List()
            for each in under:
                deep = text.ListItem()
                deep.addElement(text.P(text=each))
                inner.addElement(deep)
            item.addElement(inner)
        outer.addElement(item)
    document.text.addElement(outer)


def _styled(document) -> None:
    for name, properties in (
        ("up", {"textposition": "super 58%"}),
        ("down", {"textposition": "-33% 58%"}),
        ("hidden", {"display": "none"}),
    ):
        made = style.Style(name=name, family="text")
        made.addElement(style.TextProperties(**properties))
        document.automaticstyles.addElement(made)
    paragraph = text.P(text="10")
    for words, look in (("11", "up"), (" stars, H", ""), ("2", "down"), ("O", ""), ("x", "hidden")):
        paragraph.addElement(text.Span(text=words, **({"stylename": look} if look else {})))
    document.text.addElement(paragraph)


def _tabled(document) -> None:
    made = table.Table(name="Sold")
    head = table.TableHeaderRows()
    for number, cells in enumerate([("Who", "Q3", "Q4"), ("Dask", "7", "8"), ("total 15",)]):
        row = table.TableRow()
        for words in cells:
            span = {"numbercolumnsspanned": 3} if len(cells) == 1 else {}
            cell = table.TableCell(**span)
            cell.addElement(text.P(text=words))
            row.addElement(cell)
        for _ in range(3 - len(cells)):
            row.addElement(table.CoveredTableCell())
        (made if number else head).addElement(row)
        if not number:
            made.addElement(head)
    document.text.addElement(made)


def _boxed(document) -> None:
    paragraph = text.P(text="outside")
    frame = draw.Frame(width="3cm", height="1cm")
    box = draw.TextBox()
    box.addElement(text.P(text="in the box"))
    frame.addElement(box)
    paragraph.addElement(frame)
    document.text.addElement(paragraph)


def _pictured(document) -> None:
    paragraph = text.P(text="See ")
    frame = draw.Frame(width="3cm", height="1cm")
    frame.addElement(draw.Image(href="Pictures/none.png"))
    frame.addElement(svg.Desc(text="A map of Bonn"))
    paragraph.addElement(frame)
    document.text.addElement(paragraph)


def _commented(document) -> None:
    paragraph = text.P(text="The text.")
    comment = office.Annotation()
    comment.addElement(dc.Creator(text="Bo"))
    comment.addElement(text.P(text="Is that so?"))
    paragraph.addElement(comment)
    document.text.addElement(paragraph)


def _changed(document) -> None:
    changes = text.TrackedChanges()
    region = text.ChangedRegion(check_grammar=False)
    deletion = text.Deletion()
    deletion.addElement(text.P(text="old words"))
    region.addElement(deletion)
    changes.addElement(region)
    document.text.addElement(changes)
    document.text.addElement(text.P(text="new words"))


def _paged(document) -> None:
    document.text.setAttribute("usesoftpagebreaks", "true")
    document.text.addElement(text.P(text="One."))
    document.text.addElement(text.SoftPageBreak())
    document.text.addElement(text.P(text="Two."))


def _margined(document) -> None:
    layout = style.PageLayout(name="layout")
    document.automaticstyles.addElement(layout)
    master = style.MasterPage(name="Standard", pagelayoutname="layout")
    header, footer = style.Header(), style.Footer()
    header.addElement(text.P(text="Confidential"))
    footer.addElement(page := text.P(text="Page "))
    page.addElement(text.PageNumber(selectpage="current", text="3"))
    master.addElement(header)
    master.addElement(footer)
    document.masterstyles.addElement(master)
    document.text.addElement(text.P(text="The text."))


MATH = """<math xmlns="http://www.w3.org/1998/Math/MathML"><semantics><mrow><mi>π</mi><msup>
<mi>r</mi><mn>2</mn></msup><mo>+</mo><mfrac><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow><mn>2</mn>
</mfrac></mrow><annotation encoding="StarMath 5.0">%pi r^2</annotation></semantics></math>"""


def _equation(path: Path) -> None:
    def fill(document) -> None:
        paragraph = text.P(text="Area: ")
        frame = draw.Frame(width="3cm", height="1cm")
        frame.addElement(draw.Object(href="./Object 1"))
        frame.addElement(draw.Image(href="./ObjectReplacements/Object 1"))
        paragraph.addElement(frame)
        paragraph.addText(" square metres.")
        document.text.addElement(paragraph)

    _text(fill)(path)
    change_zip(path, {"Object 1/content.xml": MATH.encode()})


def _slides(path: Path) -> None:
    document = OpenDocumentPresentation()
    layout = style.PageLayout(name="layout")
    document.automaticstyles.addElement(layout)
    document.masterstyles.addElement(style.MasterPage(name="M", pagelayoutname="layout"))
    for title, words in (("Plan", "First, wait."), ("Costs", "Little.")):
        page = draw.Page(masterpagename="M")
        for kind, said in (("outline", words), ("title", title)):
            frame = draw.Frame(width="3cm", height="1cm")
            frame.setAttrNS(presentation.PRESENTATIONNS, "class", kind)
            box = draw.TextBox()
            box.addElement(text.P(text=said))
            frame.addElement(box)
            page.addElement(frame)
        group = draw.G()
        shape = draw.CustomShape(width="3cm", height="1cm")
        shape.addElement(text.P(text=f"in a group of {title}"))
        group.addElement(shape)
        page.addElement(group)
        notes = presentation.Notes()
        frame = draw.Frame(width="3cm", height="1cm")
        frame.setAttrNS(presentation.PRESENTATIONNS, "class", "notes")
        box = draw.TextBox()
        box.addElement(text.P(text=f"Mention {title}."))
        frame.addElement(box)
        notes.addElement(frame)
        page.addElement(notes)
        document.presentation.addElement(page)
    document.save(str(path))


def _encrypted(path: Path) -> None:
    _text(_say("The text."))(path)
    mark = b"<manifest:encryption-data/></manifest:manifest>"
    change_zip(
        path,
        {"META-INF/manifest.xml": lambda xml: xml.replace(b"</manifest:manifest>", mark)},
    )


def _repeated(document) -> None:
    made = table.Table(name="Wide")
    row = table.TableRow()
    for words in ("a", "b"):
        cell = table.TableCell()
        cell.addElement(text.P(text=words))
        row.addElement(cell)
    row.addElement(table.TableCell(numbercolumnsrepeated=1_000_000))
    made.addElement(row)
    document.text.addElement(made)


CASES = [
    Case("headings", "headings.odt", _text(_headed), holds=("# Report\n\n## Costs",)),
    Case(
        "numbered headings",
        "outline.odt",
        _text(_outlined),
        holds=("# 1. Scope\n\n# 2. Terms\n\n## 2.1 Goods\n\n## 2.2 Price",),
    ),
    Case(
        "footnote at its place",
        "note.odt",
        _text(_noted),
        holds=("It rains [note: Without the annex.] in Bonn.",),
    ),
    Case(
        "numbered list of two levels",
        "list.odt",
        _text(_listed),
        holds=("1) one\n2) two\n  a) deep\n  b) deeper\n3) three",),
    ),
    Case(
        "raised, lowered and hidden text",
        "raised.odt",
        _text(_styled),
        holds=("10^11 stars, H_2O",),
        notices=("hidden text is left out (1 characters)",),
    ),
    Case(
        "table with its header and a wide cell",
        "table.odt",
        _text(_tabled),
        holds=("| Who | Q3 | Q4 |\n|---|---|---|\n| Dask | 7 | 8 |\n| total 15 |  |  |",),
    ),
    Case("a cell that stands for a million", "wide.odt", _text(_repeated), holds=("| a | b |",)),
    Case("text box", "box.odt", _text(_boxed), holds=("outside\n\nin the box",)),
    Case(
        "described picture",
        "picture.odt",
        _text(_pictured),
        holds=("See [picture: A map of Bonn]",),
        notices=("1 picture is not read",),
    ),
    Case("equation", "equation.odt", _equation, holds=("Area: πr^2+(a+b)/2 square metres.",)),
    Case(
        "comment",
        "comment.odt",
        _text(_commented),
        holds=("The text.",),
        lacks=("Is that so", "Bo"),
        notices=("1 comment is not read",),
    ),
    Case("tracked deletion", "changes.odt", _text(_changed), holds=("new words",), lacks=("old",)),
    Case("pages", "pages.odt", _text(_paged), holds=("One.\n\nTwo.",), n_pages=2),
    Case(
        "header, and a footer that is a page number",
        "margins.odt",
        _text(_margined),
        holds=("Confidential\n\nThe text.",),
        lacks=("Page",),
    ),
    Case("with a password", "secret.odt", _encrypted, refused="is encrypted"),
    Case(
        "slides: title first, groups, notes",
        "slides.odp",
        _slides,
        holds=(
            "# Plan\n\nFirst, wait.\n\nin a group of Plan\n\nSpeaker notes: Mention Plan.",
            "# Costs",
        ),
        n_pages=2,
    ),
]
