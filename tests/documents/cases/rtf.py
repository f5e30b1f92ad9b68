"""Rich Text Format, as Word, WordPad and TextEdit write it."""

from pathlib import Path

from tests.documents.cases import Case

HEAD = r"{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0\fnil\fcharset0 Arial;}"
FONTS = r"{\f1\fnil\fcharset204 Arial Cyr;}{\f2\fnil\fcharset2 Symbol;}{\f3\fcharset128 Mincho;}}"


def _rtf(body: str):
    """Return what writes a file with the given text."""

    def make(path: Path) -> None:
        path.write_bytes((HEAD + FONTS + body + "}").encode("latin-1"))

    return make


def _cell(text: str) -> str:
    return rf"\pard\intbl {text}\cell"


CASES = [
    Case(
        "letters in the encodings of three fonts",
        "fonts.rtf",
        _rtf(r"caf\'e9 {\f1 \'cc\'ee\'f1\'ea\'e2\'e0} {\f3 \'93\'fa} {\f2 a} \u8364? \'80\par"),
        holds=("café Москва 日 α € €",),
    ),
    Case(
        "footnote at its place",
        "note.rtf",
        _rtf(r"It rains{\super \chftn}{\footnote {\super\chftn} Without annex.} in Bonn.\par"),
        holds=("It rains [note: Without annex.] in Bonn.",),
    ),
    Case(
        "header and footer: once, without page numbers",
        "margins.rtf",
        _rtf(r"{\header Secret\par}{\footer Page \chpgn\par}The text.\par"),
        holds=("Secret\n\nThe text.",),
        lacks=("Page",),
    ),
    Case(
        "labels of lists, headings",
        "list.rtf",
        _rtf(
            r"\pard\outlinelevel0 Report\par\pard{\listtext 2.1\tab}clause\par"
            r"{\pntext\f2\'b7\tab}item\par"
        ),
        holds=("# Report\n\n2.1 clause\n- item",),
    ),
    Case(
        "raised and lowered text",
        "raised.rtf",
        _rtf(r"10{\super 11} stars, H{\sub 2}O, x\up6 2\up0\par"),
        holds=("10^11 stars, H_2O, x^2",),
    ),
    Case(
        "table",
        "table.rtf",
        _rtf(
            rf"\trowd\trhdr{_cell('Who')}{_cell('Sold')}\row"
            rf"\trowd{_cell('Dask')}{_cell('7')}\row\pard After.\par"
        ),
        holds=("| Who | Sold |\n|---|---|\n| Dask | 7 |\n\nAfter.",),
    ),
    Case(
        "hidden, deleted text and field codes",
        "hidden.rtf",
        _rtf(
            r"shown{\v secret} {\deleted gone}"
            r'{\field{\*\fldinst HYPERLINK "http://a.b"}{\fldrslt the rules}}\par'
        ),
        holds=("shown the rules",),
        lacks=("secret", "gone", "HYPERLINK"),
        notices=("hidden text is left out (6 characters)",),
    ),
    Case(
        "picture, object, comment",
        "picture.rtf",
        _rtf(
            r"The text.{\*\shppict{\pict\pngblip 89504e47}}{\nonshppict{\pict 89504e47}}"
            r"{\object\objemb{\*\objdata 0105}{\result{\pict 00}}}"
            r"{\*\annotation Is that so?}\par"
        ),
        holds=("The text.",),
        lacks=("8950", "Is that so"),
        notices=("1 picture and 1 embedded object are not read", "1 comment is not read"),
    ),
    Case(
        "picture in binary, with braces in it",
        "binary.rtf",
        _rtf(r"before {\pict\wmetafile8\bin4 }{}\}after\par"),
        holds=("before after",),
        notices=("1 picture is not read",),
    ),
    Case(
        "text box",
        "box.rtf",
        _rtf(
            r"outside{\shp{\*\shpinst{\sp{\sn shapeType}{\sv 202}}{\shptxt in the box\par}}"
            r"{\shprslt in the box}}\par"
        ),
        holds=("outside\n\nin the box",),
        lacks=("202", "in the box\n\nin the box"),
    ),
    Case(
        "equation",
        "equation.rtf",
        _rtf(
            r"Area: {\mmath{\*\moMath{\mr π}{\msSup{\me{\mr r}}{\msup{\mr 2}}}}}"
            r"{\mmathPict 1} square metres.\par".replace("π", r"\u960?")
        ),
        holds=("Area: πr^(2) square metres.",),
    ),
    Case("pages", "pages.rtf", _rtf(r"One.\page Two.\par"), holds=("One.\n\nTwo.",), n_pages=2),
    Case(
        "10,000 nested groups, cut short",
        "deep.rtf",
        _rtf("The text." + "{" * 10_000),
        holds=("The text.",),
    ),
    Case("named as Word's old format", "really.doc", _rtf("The text."), holds=("The text.",)),
]
