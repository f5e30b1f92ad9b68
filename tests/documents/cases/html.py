"""Web pages: what is hidden, forms, lists, tables, equations, and pages that a server completes."""

from pathlib import Path

from tests.documents.cases import Case, Make


def _page(body: str, encoding: str = "utf-8") -> Make:
    def make(path: Path) -> None:
        path.write_bytes(f"<!doctype html><html><body>{body}</body></html>".encode(encoding))

    return make


_HIDDEN = (
    "<p hidden>one</p><p style='color: red; display:none'>two</p><p aria-hidden=true>three</p>"
    "<p style='visibility: hidden'>four</p><template>five</template><noscript>six</noscript>"
)
_FORM = (
    "<form><label>Name</label><input value=Ada><input type=hidden value=secret><label>City</label>"
    "<select><option>Paris<option selected>Bern</select><input type=checkbox checked>member"
    "<input type=checkbox>guest<textarea>Call me</textarea><button>Send</button></form>"
)
_TABLE = (
    "<table><caption>Sales</caption><tr><th>Who</th><th>Q3</th></tr><tr><td rowspan=2>Dask</td>"
    "<td>5</td></tr><tr><td>6</td></tr></table>"
)
_MATH = (
    "<p>Area: <math><semantics><mi>x</mi><annotation encoding='application/x-tex'>\\pi r^2"
    "</annotation></semantics></math> square metres, <math><mfrac><mi>a</mi><mrow><mi>b</mi><mo>+"
    "</mo><mn>1</mn></mrow></mfrac></math>.</p>"
)
CASES = [
    Case(
        "text that it hides",
        "hidden.html",
        _page(f"<p>seen</p>{_HIDDEN}"),
        holds=("seen",),
        lacks=("one", "two", "three", "four", "five", "six"),
    ),
    Case(
        "a form",
        "form.html",
        _page(_FORM),
        holds=("Name Ada City Bern [x] member [ ] guest Call me Send",),
        lacks=("Paris", "secret"),
    ),
    Case(
        "raised and lowered text",
        "raised.html",
        _page("<p>10<sup>11</sup> stars, m<sup>-2</sup>, H<sub>2</sub>O, 1<sup>st</sup>.</p>"),
        holds=("10^11 stars, m^-2, H_2O, 1st.",),
    ),
    Case(
        "lists",
        "lists.html",
        _page("<ol start=3><li>a<li>b<ul><li>c</ul></ol>"),
        holds=("3. a\n4. b\n  - c",),
    ),
    Case(
        "a table with a header",
        "table.html",
        _page(_TABLE),
        holds=("Sales\n| Who | Q3 |\n|---|---|\n| Dask | 5 |\n| Dask | 6 |",),
    ),
    Case(
        "a table for the layout",
        "layout.html",
        _page("<table><tr><td>left<td><table><tr><td>a<td>b</table></table>"),
        holds=("left", "a\tb"),
        lacks=("|",),
    ),
    Case(
        "the text of a picture",
        "picture.html",
        _page("<p>See <img alt='a chart of sales'> here.</p>"),
        holds=("See a chart of sales here.",),
    ),
    Case("equations", "math.html", _page(_MATH), holds=("Area: \\pi r^2 square metres, a/(b+1).",)),
    Case(
        "another page in a frame",
        "frame.html",
        _page("<iframe src=other.html></iframe>"),
        refused="has no text of its own, only <iframe>",
    ),
    Case(
        "an encoding that is not said",
        "page.html",
        _page("<p>会议在中午举行，价格为每吨三千元。</p>", "gbk"),
        holds=("会议在中午举行，价格为每吨三千元。",),
        notices=("was read as gb18030",),
    ),
    Case(
        "programs in a page",
        "page.php",
        _page("<p>Open daily. <?php echo time(); ?></p>"),
        holds=("Open daily.",),
        lacks=("echo",),
        notices=("1 program",),
    ),
    Case(
        "10,000 tags in each other",
        "deep.html",
        _page("<div>" * 10_000 + "deep"),
        holds=("deep",),
    ),
]
