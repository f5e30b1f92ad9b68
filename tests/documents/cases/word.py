"""Word files, and what Word draws of them that their text does not have."""

import struct
from pathlib import Path

import docx

from tests.documents.cases import Case
from tests.documents.office_files import change_zip, paragraph, part, related, run, word


def _levels(*levels: tuple[str, str]) -> str:
    return "".join(
        f'<w:lvl w:ilvl="{at}"><w:start w:val="1"/><w:numFmt w:val="{format_}"/>'
        f'<w:lvlText w:val="{text}"/></w:lvl>'
        for at, (format_, text) in enumerate(levels)
    )


NUMBERING = part(
    "numbering",
    '<w:abstractNum w:abstractNumId="1">'
    + _levels(("decimal", "%1."), ("decimal", "%1.%2"), ("lowerLetter", "%1.%2.%3"))
    + '</w:abstractNum><w:abstractNum w:abstractNumId="2">'
    + _levels(("bullet", "\uf0b7"), ("bullet", "o"))
    + '</w:abstractNum><w:num w:numId="1"><w:abstractNumId w:val="1"/></w:num>'
    '<w:num w:numId="2"><w:abstractNumId w:val="2"/></w:num>'
    '<w:num w:numId="3"><w:abstractNumId w:val="1"/><w:lvlOverride w:ilvl="0">'
    '<w:startOverride w:val="5"/></w:lvlOverride></w:num>',
)


def _item(text: str, number: int, level: int, properties: str = "") -> str:
    list_ = f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{number}"/></w:numPr>'
    return paragraph(text, properties=properties + list_)


def _numbered(*items: str):
    return word(*items, changes={"word/numbering.xml": NUMBERING.encode()})


def _notes(path: Path) -> None:
    note = '<w:{0} w:id="7">{1}</w:{0}><w:{0} w:id="0" w:type="separator"><w:p/></w:{0}>'
    changes = related(
        footnotes=part("footnotes", note.format("footnote", paragraph("Without the annex."))),
        endnotes=part("endnotes", note.format("endnote", paragraph("Ann") + paragraph("2019."))),
    )
    text = paragraph(
        "It rains",
        '<w:r><w:footnoteReference w:id="7"/></w:r>',
        " in Bonn",
        '<w:r><w:endnoteReference w:id="7"/></w:r>',
        ".",
    )
    word(text, changes=changes)(path)


def _margins(path: Path) -> None:
    document = docx.Document()
    document.add_paragraph("The text.")
    document.sections[0].header.paragraphs[0].text = "Confidential"
    footer = document.sections[0].footer.paragraphs[0]
    footer.text = "Acme Corporation"
    document.add_section()
    document.add_paragraph("The rest.")
    document.save(str(path))
    field = '<w:fldSimple w:instr=" PAGE ">' + run("12") + "</w:fldSimple>"
    page = paragraph("Page ", field, " of 30").encode()

    def add_page_number(xml: bytes) -> bytes:
        return xml.replace(b"</w:ftr>", page + b"</w:ftr>")

    change_zip(path, {"word/footer1.xml": add_page_number})


def _comments(path: Path) -> None:
    document = docx.Document()
    words = document.add_paragraph().add_run("The text.")
    for _ in range(3):
        document.add_comment(words, "Is that so?", "Bo")
    document.save(str(path))


def _equation(inner: str) -> str:
    return f"<m:oMath>{inner}</m:oMath>"


def _m(name: str, *parts: tuple[str, str]) -> str:
    inner = "".join(
        f"<m:{tag}>{text if text.startswith('<') else _math(text)}</m:{tag}>" for tag, text in parts
    )
    return f"<m:{name}>{inner}</m:{name}>"


def _math(text: str) -> str:
    return f"<m:r><m:t>{text}</m:t></m:r>"


def _raised(text: str, kind: str = "superscript") -> str:
    return run(text, f'<w:vertAlign w:val="{kind}"/>')


def _box(inner: str, copy: str = "") -> str:
    """Return a run with a text box as Word writes it: for new programs, and for old ones."""
    return (
        '<w:r><mc:AlternateContent><mc:Choice Requires="wps"><w:drawing><wp:anchor><a:graphic>'
        f"<a:graphicData><wps:wsp><wps:txbx><w:txbxContent>{inner}</w:txbxContent></wps:txbx>"
        "</wps:wsp></a:graphicData></a:graphic></wp:anchor></w:drawing></mc:Choice><mc:Fallback>"
        f"<w:pict><v:shape><v:textbox><w:txbxContent>{copy}</w:txbxContent></v:textbox></v:shape>"
        "</w:pict></mc:Fallback></mc:AlternateContent></w:r>"
    )


def _nested_boxes() -> str:
    inner = paragraph("innermost")
    for depth in range(9):  # each twice, as Word writes them: 2^9 copies of the innermost
        inner = paragraph(_box(inner, inner), f"box {depth}")
    return inner


def _picture(description: str = "") -> str:
    return (
        f'<w:r><w:drawing><wp:inline><wp:docPr id="1" name="Picture 1" descr="{description}"/>'
        "<a:graphic><a:graphicData><pic:pic/></a:graphicData></a:graphic></wp:inline></w:drawing>"
        "</w:r>"
    )


_CHART = (
    "<w:r><w:drawing><wp:inline><a:graphic><a:graphicData><c:chart/></a:graphicData></a:graphic>"
    "</wp:inline></w:drawing></w:r>"
)
_OBJECT = '<w:r><w:object><o:OLEObject ProgID="{}"/></w:object></w:r>'


def _field(code: str, result: str) -> str:
    mark = '<w:r><w:fldChar w:fldCharType="{}"/></w:r>'
    instruction = f"<w:r><w:instrText>{code}</w:instrText></w:r>"
    return (
        mark.format("begin") + instruction + mark.format("separate") + result + mark.format("end")
    )


def _form(data: str) -> str:
    return (
        f'<w:r><w:fldChar w:fldCharType="begin"><w:ffData>{data}</w:ffData></w:fldChar></w:r>'
        '<w:r><w:fldChar w:fldCharType="end"/></w:r>'
    )


def _table(path: Path) -> None:
    document = docx.Document()
    table = document.add_table(3, 3)
    for cell, text in zip(table._cells, ["Who", "Q3", "Q4", "Dask", "7", "8"], strict=False):
        cell.text = text
    table.cell(2, 1).merge(table.cell(2, 2)).text = "none|left"
    table.cell(1, 0).merge(table.cell(2, 0))
    document.save(str(path))


def _nested_table(path: Path) -> None:
    document = docx.Document()
    table = document.add_table(2, 2)
    for cell, text in zip(table._cells, ["Name", "Parts", "Lamp", ""], strict=True):
        cell.text = text
    inner = table.cell(1, 1).add_table(1, 2)
    inner.cell(0, 0).text, inner.cell(0, 1).text = "bulb", "shade"
    document.save(str(path))


def _table_over_pages() -> str:
    broken = "<w:r><w:lastRenderedPageBreak/><w:t>b</w:t></w:r>"
    cells = [("Name", "Age"), ("a", "1"), (broken, "2")]
    rows = "".join(
        "<w:tr>" + "".join(f"<w:tc>{paragraph(cell)}</w:tc>" for cell in row) + "</w:tr>"
        for row in cells
    )
    return f"<w:tbl>{rows}</w:tbl>"


def _dangling(path: Path) -> None:
    word(paragraph("Still read."))(path)
    bad = b'<Relationship Id="x" Type="http://x/image" Target="media/gone.png"/></Relationships>'
    change_zip(
        path,
        {
            "word/_rels/document.xml.rels": lambda xml: xml.replace(b"</Relationships>", bad),
            "_rels/.rels": lambda xml: xml.replace(b"</Relationships>", bad),
        },
    )


def _strict(path: Path) -> None:
    superscript = _raised("2")
    word(_item("Deep.", 1, 1), paragraph("m", superscript), _table_over_pages())(path)

    def strict(xml: bytes) -> bytes:
        for room in ("wordprocessingml", "drawingml"):
            old, new = (
                f"http://schemas.openxmlformats.org/{room}/2006/main",
                f"http://purl.oclc.org/ooxml/{room}/main",
            )
            xml = xml.replace(old.encode(), new.encode())
        return xml.replace(
            b"http://schemas.openxmlformats.org/officeDocument/2006/relationships",
            b"http://purl.oclc.org/ooxml/officeDocument/relationships",
        )

    names = ["word/document.xml", "word/styles.xml", "_rels/.rels", "word/_rels/document.xml.rels"]
    change_zip(
        path,
        {
            **dict.fromkeys(names, strict),
            "word/numbering.xml": strict(NUMBERING.encode()),
        },
    )


def _typed(main: bytes):
    """Return what writes a Word file of another type: with macros, or a template."""
    usual = b"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"

    def make(path: Path) -> None:
        word(paragraph("The text."))(path)
        change_zip(path, {"[Content_Types].xml": lambda xml: xml.replace(usual, main)})

    return make


def _with_document(xml: bytes):
    """Return what writes a Word file whose main part is the given XML."""

    def make(path: Path) -> None:
        word()(path)
        change_zip(path, {"word/document.xml": xml})

    return make


def _lying_bomb(path: Path) -> None:
    """Write a Word file whose directory says that a part has 100 bytes; it has 50 MB."""
    word()(path)
    change_zip(path, {"word/document.xml": bytes(50 * 2**20)})
    data = bytearray(path.read_bytes())
    name = b"word/document.xml"
    entry = data.rindex(name) - 46
    assert data[entry : entry + 4] == b"PK\x01\x02"
    data[entry + 24 : entry + 28] = struct.pack("<I", 100)
    path.write_bytes(data)


def _tags(xml: bytes, count: int) -> bytes:
    start = b'<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
    return start + b"<w:body>" + xml * count + b"</w:body></w:document>"


def _deep(path: Path) -> None:
    start = b'<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
    inner = b"<w:sdt>" * 10_000 + b"</w:sdt>" * 10_000
    _with_document(start + inner + b"</w:document>")(path)


def _entities(path: Path) -> None:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    head = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e0 "ha">{entities}]>'
    body = part("document", f"<w:body>{paragraph('&e9;')}</w:body>")
    _with_document(f"{head}{body}".encode())(path)


def _cut(path: Path) -> None:
    word(paragraph("The text."))(path)
    path.write_bytes(path.read_bytes()[:9000])


def _encrypted_member(path: Path) -> None:
    word(paragraph("The text."))(path)
    data = bytearray(path.read_bytes())
    at = 0
    while (at := data.find(b"PK\x01\x02", at)) >= 0:
        data[at + 8] |= 1
        at += 4
    path.write_bytes(data)


def _old(stream: str):
    """Return what writes the container of old Office files with the name of a stream in it."""

    def make(path: Path) -> None:
        path.write_bytes(
            bytes.fromhex("d0cf11e0a1b11ae1") + bytes(504) + stream.encode("utf-16-le") + bytes(512)
        )

    return make


def _headings(path: Path) -> None:
    document = docx.Document()
    document.add_heading("Report", 0)
    document.add_heading("Costs", 1)
    document.add_heading("In euros", 2)
    document.add_paragraph("Little.")
    document.save(str(path))


def _pages(path: Path) -> None:
    document = docx.Document()
    document.add_paragraph("One.")
    document.add_page_break()
    document.add_paragraph("Two.")
    document.save(str(path))


_RENDERED = "<w:r><w:lastRenderedPageBreak/></w:r>"

CASES = [
    Case(
        "footnote and endnote at their place",
        "notes.docx",
        _notes,
        holds=("It rains [note: Without the annex.] in Bonn [note: Ann 2019.].",),
    ),
    Case(
        "header and footer, of two sections: once, without page numbers",
        "margins.docx",
        _margins,
        holds=("Confidential\n\nThe text.", "The rest.\n\nAcme Corporation"),
        lacks=("Page", "Confidential\n\nThe rest."),
        n_pages=2,
    ),
    Case(
        "three comments",
        "comments.docx",
        _comments,
        holds=("The text.",),
        lacks=("Is that so",),
        notices=("3 comments are not read",),
    ),
    Case(
        "clause numbers of three levels",
        "clauses.docx",
        _numbered(
            _item("Scope", 1, 0),
            _item("Terms", 1, 0),
            _item("Goods", 1, 1),
            _item("Price", 1, 1),
            _item("net", 1, 2),
            _item("Law", 1, 0),
            _item("Goods again", 1, 1),
        ),
        holds=("1. Scope\n2. Terms\n2.1 Goods\n2.2 Price\n2.2.a net\n3. Law\n3.1 Goods again",),
    ),
    Case(
        "a list that begins at five, and bullets of two levels",
        "lists.docx",
        _numbered(_item("five", 3, 0), _item("six", 3, 0), _item("dot", 2, 0), _item("sub", 2, 1)),
        holds=("5. five\n6. six\n- dot\n  - sub",),
    ),
    Case(
        "numbered headings",
        "headings.docx",
        _numbered(
            _item("Scope", 1, 0, '<w:pStyle w:val="Heading1"/>'),
            _item("Goods", 1, 1, '<w:pStyle w:val="Heading2"/>'),
        ),
        holds=("# 1. Scope\n\n## 1.1 Goods",),
    ),
    Case(
        "title and headings",
        "title.docx",
        _headings,
        holds=("# Report\n\n# Costs\n\n## In euros\n\nLittle.",),
    ),
    Case(
        "equations in a sentence",
        "equations.docx",
        word(
            paragraph(
                "Area: ",
                _equation(_math("π") + _m("sSup", ("e", "r"), ("sup", "2"))),
                " square metres; ",
                _equation(_m("f", ("num", "a+b"), ("den", "2c"))),
                " and ",
                _equation(_m("rad", ("deg", "<m:r/>"), ("e", "x+1"))),
                ".",
            )
        ),
        holds=("Area: πr^2 square metres; (a+b)/(2c) and sqrt(x+1).",),
    ),
    Case(
        "sum, function, matrix, brackets",
        "sums.docx",
        word(
            paragraph(
                _equation(
                    '<m:nary><m:naryPr><m:chr m:val="∑"/></m:naryPr><m:sub>'
                    + _math("i=1")
                    + "</m:sub><m:sup>"
                    + _math("n")
                    + "</m:sup><m:e>"
                    + _m("sSub", ("e", "x"), ("sub", "i"))
                    + "</m:e></m:nary>"
                ),
                " ",
                _equation(_m("func", ("fName", "sin"), ("e", "x"))),
                " ",
                _equation(
                    '<m:d><m:dPr><m:begChr m:val="["/><m:endChr m:val="]"/></m:dPr><m:e>'
                    + _math("a,b")
                    + "</m:e></m:d>"
                ),
            )
        ),
        holds=("∑_(i=1)^n x_i sin(x) [a,b]",),
    ),
    Case(
        "an equation of an old program",
        "old-equation.docx",
        word(paragraph("Area: ", _OBJECT.format("Equation.DSMT4"), " square metres.")),
        holds=("square metres",),
        notices=("1 equation is not read",),
    ),
    Case(
        "raised and lowered text",
        "raised.docx",
        word(
            paragraph(
                "10", _raised("1"), _raised("1"), " stars, H", _raised("2", "subscript"), "O"
            ),
            paragraph("10", _raised("-3"), ", x", _raised("n+1"), ", the 5", _raised("th"), " day"),
        ),
        holds=("10^11 stars", "H_2O", "10^-3, x^(n+1), the 5th day"),
    ),
    Case(
        "symbols of symbol fonts",
        "symbols.docx",
        word(
            paragraph(
                '<w:r><w:sym w:font="Symbol" w:char="F061"/></w:r>',
                " ",
                '<w:r><w:sym w:font="Wingdings" w:char="F0FC"/></w:r>',
                run("\uf0a3", '<w:rFonts w:ascii="Symbol"/>'),
            )
        ),
        holds=("α ✓≤",),
    ),
    Case(
        "a symbol that nobody knows",
        "unknown-symbol.docx",
        word(paragraph("Press ", '<w:r><w:sym w:font="Acme Icons" w:char="F041"/></w:r>')),
        holds=("Press \ufffd",),
        notices=("1 symbols of Acme Icons have no Unicode character",),
    ),
    Case(
        "tracked changes: as if accepted",
        "changes.docx",
        word(
            paragraph(
                "<w:ins>" + run("new ") + "</w:ins>",
                "<w:del><w:r><w:delText>old</w:delText></w:r></w:del>",
                "<w:moveFrom>" + run("moved away") + "</w:moveFrom>",
                "<w:moveTo>" + run("moved here") + "</w:moveTo>",
            ),
            paragraph("joined ", properties="<w:rPr><w:del/></w:rPr>"),
            paragraph("to this"),
        ),
        holds=("new moved here\n\njoined to this",),
        lacks=("old", "away"),
    ),
    Case(
        "a text box: once",
        "box.docx",
        word(paragraph(_box(paragraph("in the box"), paragraph("in the box")), "outside")),
        holds=("outside\n\nin the box",),
        lacks=("in the box\n\nin the box",),
    ),
    Case(
        "text boxes in text boxes",
        "boxes.docx",
        word(_nested_boxes()),
        holds=("box 8\n\nbox 7", "box 0\n\ninnermost"),
        lacks=("innermost\n\ninnermost",),
    ),
    Case(
        "content controls, also around rows",
        "controls.docx",
        word(
            "<w:sdt><w:sdtPr/><w:sdtContent>" + paragraph("chosen") + "</w:sdtContent></w:sdt>",
            paragraph(
                "in <", "<w:sdt><w:sdtContent>" + run("line") + "</w:sdtContent></w:sdt>"
            ).replace("in <", "in "),
        ),
        holds=("chosen\n\nin line",),
    ),
    Case(
        "words with their pronunciation",
        "ruby.docx",
        word(
            paragraph(
                "<w:r><w:ruby><w:rt>"
                + run("かんじ")
                + "</w:rt><w:rubyBase>"
                + run("漢字")
                + "</w:rubyBase></w:ruby></w:r>"
            )
        ),
        holds=("漢字",),
        lacks=("かんじ",),
    ),
    Case(
        "form fields and check boxes",
        "form.docx",
        word(
            paragraph(_form('<w:checkBox><w:checked w:val="1"/></w:checkBox>'), " yes"),
            paragraph(_form('<w:checkBox><w:default w:val="0"/></w:checkBox>'), " no"),
            paragraph(
                "Colour: ",
                _form(
                    '<w:ddList><w:result w:val="1"/><w:listEntry w:val="red"/>'
                    '<w:listEntry w:val="blue"/></w:ddList>'
                ),
            ),
            paragraph("Name: ", _field(" FORMTEXT ", run("Ann"))),
        ),
        holds=("☒ yes", "☐ no", "Colour: blue", "Name: Ann"),
        lacks=("FORMTEXT", "red"),
    ),
    Case(
        "fields in the code of fields, and one without an end",
        "fields.docx",
        word(
            paragraph("See ", _field(" IF " + "x", run("chapter 2"))),
            paragraph('<w:r><w:fldChar w:fldCharType="begin"/></w:r>', run("lost")),
            paragraph("the rest"),
        ),
        holds=("See chapter 2", "the rest"),
        lacks=("IF",),
    ),
    Case(
        "hidden text",
        "hidden.docx",
        word(paragraph("shown ", run("secret", "<w:vanish/>"), "too")),
        holds=("shown too",),
        lacks=("secret",),
        notices=("hidden text is left out (6 characters)",),
    ),
    Case(
        "a table with merged cells",
        "table.docx",
        _table,
        holds=("| Who | Q3 | Q4 |\n|---|---|---|\n| Dask | 7 | 8 |\n|  | none\\|left |  |",),
    ),
    Case(
        "a table in a table: once",
        "nested-table.docx",
        _nested_table,
        holds=("| Name | Parts |\n|---|---|\n| Lamp | bulb, shade |",),
    ),
    Case(
        "a table over two pages: its header on both",
        "long-table.docx",
        word(_table_over_pages()),
        holds=("| Name | Age |\n|---|---|\n| a | 1 |\n\n| Name | Age |\n|---|---|\n| b | 2 |",),
        n_pages=2,
    ),
    Case(
        "a link",
        "link.docx",
        word(paragraph("see ", '<w:hyperlink r:id="none">' + run("the rules") + "</w:hyperlink>")),
        holds=("see the rules",),
    ),
    Case("page breaks", "pages.docx", _pages, holds=("One.\n\nTwo.",), n_pages=2),
    Case(
        "pages as they were laid out: a paragraph stays whole",
        "rendered.docx",
        word(
            paragraph("Begun here, ", _RENDERED, "ended there."),
            paragraph(_RENDERED, "Third."),
            paragraph('<w:r><w:br w:type="page"/></w:r>'),
        ),
        holds=("Begun here, ended there.\n", "Third."),
        n_pages=3,
    ),
    Case(
        "pictures, one of them described, a chart, an embedded file",
        "pictures.docx",
        word(
            paragraph("See ", _picture("A map of Bonn"), _picture()),
            paragraph(_CHART, _OBJECT.format("Excel.Sheet.12")),
        ),
        holds=("See [picture: A map of Bonn]",),
        notices=("2 pictures, 1 chart and 1 embedded object are not read",),
    ),
    Case("relations that point nowhere", "dangling.docx", _dangling, holds=("Still read.",)),
    Case(
        "Strict Open XML",
        "strict.docx",
        _strict,
        holds=("1.1 Deep.", "m^2", "| Name | Age |"),
        n_pages=2,
    ),
    Case(
        "with macros",
        "macros.docm",
        _typed(b"application/vnd.ms-word.document.macroEnabled.main+xml"),
        holds=("The text.",),
    ),
    Case(
        "template",
        "template.dotx",
        _typed(b"application/vnd.openxmlformats-officedocument.wordprocessingml.template.main+xml"),
        holds=("The text.",),
    ),
    Case("nothing", "empty.docx", word(), refused="has no text"),
    Case(
        "a zip bomb whose directory lies",
        "bomb.docx",
        _lying_bomb,
        refused="damaged",
    ),
    Case(
        "201 MB of zeros",
        "zeros.docx",
        _with_document(bytes(201 * 2**20)),
        refused="unzips to more than the limit",
    ),
    Case(
        "20 million empty paragraphs",
        "paragraphs.docx",
        _with_document(_tags(b"<w:p/>", 20_000_000)),
        refused="more than 3,000,000 elements",
    ),
    Case("10,000 nested tags", "deep.docx", _deep, refused="cannot be parsed"),
    Case("entities in entities", "entities.docx", _entities, refused="cannot be parsed"),
    Case("cut short", "cut.docx", _cut, refused="damaged"),
    Case("a zip with a password", "password.docx", _encrypted_member, refused="encrypted zip"),
    Case("Word 97", "old.doc", _old("WordDocument"), refused="save it as .docx"),
    Case("PowerPoint 97", "old.ppt", _old("PowerPoint Document"), refused="save it as .pptx"),
    Case("with a password", "secret.docx", _old("EncryptedPackage"), refused="is encrypted"),
]
