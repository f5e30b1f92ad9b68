"""XML: data, prose, feeds, and attacks."""

from pathlib import Path

from lxml import etree
from lxml.builder import E

from tests.documents.cases import Case, raw


def _xml(root):
    def make(path: Path) -> None:
        etree.ElementTree(root).write(path, encoding="ISO-8859-1", xml_declaration=True)

    return make


_INVOICES = E.invoices(
    E.invoice(E.customer("Müller"), E.line(E.item("bolt")), E.line(E.item("nut")), id="7"),
    E.invoice(E.customer("Bo & Co"), E.note("x < y"), id="8"),
    year="2024",
)
_BOOK = E.book(
    E.title("The pumps"),
    E.chapter(
        E.title("Valves"),
        E.para("The ", E.emphasis("inlet"), " valve opens at 40 bar.", id="p1"),
        E.para("It closes alone."),
    ),
)
_ITEM = "<p>The <b>bridge</b> opens at 5 &amp; closes at 9.</p><p>Toll: 3 €</p>"
_RSS = E.rss(
    E.channel(
        E.title("City news"),
        E.link("https://example.org/"),
        E.item(
            E.title("Bridge opens"),
            E.link("https://example.org/1"),
            E.pubDate("Mon, 04 Mar 2024 10:00:00 GMT"),
            E.description(_ITEM),
        ),
        E.item(E.title("Rain"), E.description("It rains.")),
    ),
    version="2.0",
)
_ATOM = b"""<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom"><title>Notes</title>
<entry><title>One</title><link href="https://example.org/1"/><updated>2024-03-04</updated>
<author><name>Ann</name></author><content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml">
<p>Salt <i>melts</i> ice.</p></div></content></entry></feed>"""
_LAUGHS = (
    b"""<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "ha">%s]><a><b>x &i;</b></a>"""
    % b"".join(b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9))
)
_FILE = b'<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/hostname">]><a><b>x &f; y</b></a>'

CASES = [
    Case(
        "data: elements and attributes by their names",
        "a.xml",
        _xml(_INVOICES),
        holds=(
            "year: 2024\ninvoice[0].id: 7\ninvoice[0].customer: Müller\n",
            "invoice[0].line[1].item: nut\n",
            "invoice[1].customer: Bo & Co\ninvoice[1].note: x < y",
        ),
    ),
    Case(
        "prose: paragraphs under headings",
        "book.xml",
        _xml(_BOOK),
        holds=("# The pumps\n\n## Valves\n\nThe inlet valve opens at 40 bar.\n\nIt closes alone.",),
        notices=("attributes (ids, links, classes) are not read",),
    ),
    Case(
        "RSS: an entry with its date, its HTML as text",
        "news.rss",
        _xml(_RSS),
        holds=(
            "# City news\n\nlink: https://example.org/\n\n",
            "## Bridge opens\n\nlink: https://example.org/1\npubDate: Mon, 04 Mar 2024",
            "The bridge opens at 5 & closes at 9.",
            "Toll: 3 €",
            "## Rain\n\nIt rains.",
        ),
    ),
    Case(
        "Atom",
        "notes.atom",
        raw(_ATOM),
        holds=(
            "# Notes",
            "## One\n\nlink: https://example.org/1\nupdated: 2024-03-04\nauthor: Ann\n",
            "Salt melts ice.",
        ),
    ),
    Case(
        "entities of entities",
        "laughs.xml",
        raw(_LAUGHS),
        holds=('<!ENTITY a "ha">', "<a><b>x &i;</b></a>"),
        lacks=("haha",),
        notices=("not XML (Maximum entity amplification",),
    ),
    Case(
        "an entity that names a file",
        "file.xml",
        raw(_FILE),
        holds=("b: x &f; y",),
        notices=("1 entity is not resolved",),
    ),
    Case(
        "not well formed",
        "broken.xml",
        raw(b"<a><b>one</a>"),
        holds=("<a><b>one</a>",),
        notices=("not XML",),
    ),
    Case(
        "10,000 nested elements",
        "deep.xml",
        raw(b"<a>" * 10_000 + b"x" + b"</a>" * 10_000),
        holds=("<a>x</a>",),
        notices=("not XML",),
    ),
]
