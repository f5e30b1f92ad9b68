"""Web pages: what a reader sees is read, decoded as browsers decode it."""

import codecs
import time
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
        "- first\n- second",
        "| a | b |\n|---|---|\n| 1 | 2 |",
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


def test_html_without_a_declaration_is_utf_8_or_guessed(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_bytes(b"<p>caf\xe9</p>")
    assert "read as cp1252" in read(path).notices[0]
    assert read(path, "latin-1").text == "café"


def test_html_nested_deeper_than_python_recurses_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text("<div>" * 5000 + "deep" + "</div>" * 5000)
    assert read(path).text == "deep"


@pytest.mark.parametrize("content", ["<script>only", "<div></div>", "<!--" * 40_000])
def test_html_that_holds_no_text_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.html"
    path.write_text(content)
    error_of(path)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("<" * 10**6, "<"),
        ("<b>" * 10**5 + "deep", "deep"),
        ("<table><tr><td>" * 10**4 + "deep", "deep"),
        ("<ul><li>" * 10**4 + "deep", "deep"),
        ("<ol>" + "<li>x" * 20_000, "20000. x"),
        ("<table><tr><th>a<th>b<tr>" + "<td rowspan=9>x<td colspan=5>y" * 5000, "y"),
        ("<p>a<math>" + "<mrow>" * 10**4 + "<mi>x", "x"),
    ],
)
def test_html_made_to_take_long_is_read_in_linear_time(
    tmp_path: Path, content: str, text: str
) -> None:
    path = tmp_path / "a.html"
    path.write_text(content)
    start = time.process_time()
    assert text in read(path).text
    # Far above what it takes, and far below what it took in quadratic time.
    assert time.process_time() - start < 8
