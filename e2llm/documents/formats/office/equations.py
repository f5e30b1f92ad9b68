"""Equations as text in one line: `(a)/(b)`, `x^2`, `sqrt(x)`; of Office (OMML) and of MathML."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from e2llm.documents.formats.office.xml import NAMES, child, children, value

# What needs no parentheses: a number, a word, a letter with its primes.
_SIMPLE = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+|[^\W\d_]['\u2032]*|\([^()]*\)|\u221e")
_MATH_LETTERS = re.compile("[\U0001d400-\U0001d7ff\u2102-\u2134]")
_ACCENTS = {
    "\u0302": "hat",
    "\u0303": "tilde",
    "\u0304": "bar",
    "\u0305": "bar",
    "\u0307": "dot",
    "\u0308": "ddot",
    "\u20d7": "vec",
    "^": "hat",
    "~": "tilde",
    "\u00af": "bar",
    "\u203e": "bar",
    "\u2192": "vec",
}
_PROPERTIES = re.compile(r"m:\w+Pr|w:\w+Pr|w:del|w:moveFrom|math:annotation(-xml)?|math:mphantom")
_INVISIBLE = str.maketrans("", "", "\u2061\u2062\u2063\u2064\u200b")


def linear(element: Any) -> str:
    """Return an equation, or a part of one, as text in one line.

    The parser bounds how deep they nest.
    """
    name = NAMES[element.tag]
    if name in ("m:t", "w:t", "math:mi", "math:mn", "math:mo", "math:mtext", "math:ms"):
        return _letters(element.text or "")
    if not name or _PROPERTIES.fullmatch(name):
        return ""
    write = _WRITERS.get(name)
    return write(element) if write else "".join(map(linear, element))


def _letters(text: str) -> str:
    """Return plain letters for mathematical italics and the like, which no tokenizer knows."""
    text = _MATH_LETTERS.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
    return text.translate(_INVISIBLE)


def _group(text: str) -> str:
    text = text.strip()
    return text if not text or _SIMPLE.fullmatch(text) else f"({text})"


def _of(element: Any, name: str) -> str:
    found = child(element, name)
    return "" if found is None else linear(found)


def _scripts(base: str, below: str, above: str) -> str:
    base = base if len(base.strip()) < 2 else _group(base)
    return base + (f"_{_group(below)}" if below else "") + (f"^{_group(above)}" if above else "")


def _fraction(above: str, below: str) -> str:
    return f"{_group(above)}/{_group(below)}"


def _root(degree: str, inner: str) -> str:
    inner = inner.strip()
    return f"root({inner}, {degree})" if degree.strip() not in ("", "2") else f"sqrt({inner})"


def _accent(mark: str, inner: str) -> str:
    return f"{_ACCENTS.get(mark, mark)}({inner})" if mark else inner


def _rows(rows: Iterable[Iterable[str]]) -> str:
    return "[" + "; ".join(", ".join(row) for row in rows) + "]"


def _office_fraction(element: Any) -> str:
    above, below = _of(element, "m:num"), _of(element, "m:den")
    if value(element, "m:fPr", "m:type") == "noBar":
        return f"({above} over {below})"
    return _fraction(above, below)


def _office_delimiters(element: Any) -> str:
    def mark(name: str, usual: str) -> str:
        found = value(element, "m:dPr", name)
        return usual if found is None else found

    inner = mark("m:sepChr", "|").join(map(linear, children(element, "m:e")))
    return mark("m:begChr", "(") + inner + mark("m:endChr", ")")


def _office_sum(element: Any) -> str:
    sign = value(element, "m:naryPr", "m:chr") or "\u222b"
    limits = _scripts(sign, _of(element, "m:sub"), _of(element, "m:sup"))
    return f"{limits} {_of(element, 'm:e')}"


def _office_function(element: Any) -> str:
    inner = _of(element, "m:e").strip()
    bracketed = inner.startswith("(") and inner.endswith(")")
    return _of(element, "m:fName") + (inner if bracketed else f"({inner})")


def _office_accent(element: Any) -> str:
    mark = value(element, "m:accPr", "m:chr")
    return _accent("\u0302" if mark is None else mark, _of(element, "m:e"))


def _parts(element: Any, count: int) -> list[str]:
    """Return the first children of a MathML element as text, as many as it should have."""
    texts = [linear(inner) for inner in element[:count]]
    return texts + [""] * (count - len(texts))


def _above(element: Any) -> str:
    base, mark = _parts(element, 2)
    if mark.strip() in _ACCENTS:
        return _accent(mark.strip(), base)
    return _scripts(base, "", mark)


def _under(element: Any) -> str:
    base, below = _parts(element, 2)
    return _scripts(base, below, "")


def _under_and_over(element: Any) -> str:
    return _scripts(*_parts(element, 3))


def _fenced(element: Any) -> str:
    inner = ", ".join(map(linear, element))
    return element.get("open", "(") + inner + element.get("close", ")")


_WRITERS = {
    "m:f": _office_fraction,
    "m:sSup": lambda e: _scripts(_of(e, "m:e"), "", _of(e, "m:sup")),
    "m:sSub": lambda e: _scripts(_of(e, "m:e"), _of(e, "m:sub"), ""),
    "m:sSubSup": lambda e: _scripts(_of(e, "m:e"), _of(e, "m:sub"), _of(e, "m:sup")),
    "m:sPre": lambda e: _scripts("", _of(e, "m:sub"), _of(e, "m:sup")) + _of(e, "m:e"),
    "m:rad": lambda e: _root(_of(e, "m:deg"), _of(e, "m:e")),
    "m:nary": _office_sum,
    "m:d": _office_delimiters,
    "m:func": _office_function,
    "m:acc": _office_accent,
    "m:bar": lambda e: _accent("\u0305", _of(e, "m:e")),
    "m:limLow": lambda e: _scripts(_of(e, "m:e"), _of(e, "m:lim"), "") + " ",
    "m:limUpp": lambda e: _scripts(_of(e, "m:e"), "", _of(e, "m:lim")) + " ",
    "m:m": lambda e: _rows(map(linear, children(row, "m:e")) for row in children(e, "m:mr")),
    "m:eqArr": lambda e: "; ".join(map(linear, children(e, "m:e"))),
    "m:phant": lambda e: "",
    "math:mfrac": lambda e: _fraction(*_parts(e, 2)),
    "math:msup": lambda e: _scripts(_parts(e, 2)[0], "", _parts(e, 2)[1]),
    "math:msub": _under,
    "math:msubsup": _under_and_over,
    "math:munderover": _under_and_over,
    "math:munder": _under,
    "math:mover": _above,
    "math:msqrt": lambda e: _root("", "".join(map(linear, e))),
    "math:mroot": lambda e: _root(_parts(e, 2)[1], _parts(e, 2)[0]),
    "math:mfenced": _fenced,
    "math:mtable": lambda e: _rows(map(linear, row) for row in e),
    "math:semantics": lambda e: _parts(e, 1)[0],
    "math:mspace": lambda e: " ",
}
