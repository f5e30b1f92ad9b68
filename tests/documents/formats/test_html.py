"""Web pages: what a reader sees is read, decoded as browsers decode it."""

import codecs
import warnings
from pathlib import Path

import pytest

from e2llm.documents.reading import read
from tests.documents.files import error_of


def test_html_keeps_its_blocks_as_line_breaks_and_loses_its_mark_up_and_scripts(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.html"
    path.write_text(
        "<!doctype html><html><head><title>Title</title><style>x {}</style><script>var "
        "y</script></head><body><!-- no --><h1>Head\n  line</h1><p>one "
        "<b>two</b>,\nthree<br>four &amp; &eacute; "
        "&#128512;</p><noscript>no</noscript><template>no</template>"
        "<ul><li>first</li><li>second</li></ul>"
        "<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>"
        "<pre>def f():\n    pass\n</pre>end</body></html>"
    )
    expected = [
        "Title",
        "Head line",
        "one two, three\nfour & é 😀",
        "first\nsecond",
        "a\tb\n1\t2",
        "def f():\n    pass",
        "end",
    ]
    assert read(path).text == "\n\n".join(expected)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"<meta charset=iso-8859-15><p>\xa4</p>", "€"),
        # As browsers read it: as windows-1252.
        (b"<meta charset=iso-8859-1><p>\x93caf\xe9\x94</p>", "“café”"),
        (b'<?xml version="1.0" encoding="koi8-r"?><html><p>\xc4</p></html>', "д"),
        (b"<meta charset=utf-16><p>caf\xc3\xa9</p>", "café"),
        (b"<meta charset=nonsense><p>caf\xc3\xa9</p>", "café"),
        (codecs.BOM_UTF16_LE + "<p>café</p>".encode("utf-16-le"), "café"),
    ],
)
def test_html_is_decoded_as_it_declares(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "a.htm"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(path).text == text


def test_html_without_a_declaration_is_utf_8_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_bytes(b"<p>caf\xe9</p>")
    assert "offset 6" in error_of(path)
    assert read(path, "latin-1").text == "café"


def test_html_nested_deeper_than_python_recurses_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text("<div>" * 5000 + "deep" + "</div>" * 5000)
    assert read(path).text == "deep"


@pytest.mark.parametrize("content", ["<p>&#" + "1" * 6000 + ";</p>", "<script>only", "<div></div>"])
def test_html_that_breaks_its_parser_or_holds_no_text_is_refused(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "a.html"
    path.write_text(content)
    error_of(path)
