"""Elements of web pages that are more than their text: what hides, forms, lists, mathematics."""

import re
from itertools import islice
from typing import Any

_UNSEEN = ("script", "style", "noscript", "template")
_HIDING = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden)\b", re.IGNORECASE)
_PLAIN_INPUTS = ("submit", "button", "reset", "image", "hidden", "password", "file", "color")
# Raised, they mean what they mean on the line: 1st, Foo(TM), a note's [2].
_ORDINALS = {"st", "nd", "rd", "th", "er", "re", "e", "o", "a", "TM", "SM", "™", "®"}
# Elements above an item among which the lists that it is in are counted.
_MOST_ABOVE = 32
_OPERATORS = ("mo", "mtext", "ms")


def is_invisible(node: Any) -> bool:
    """Tell whether a page shows nothing of an element."""
    return (
        node.tag in _UNSEEN
        or node.get("hidden") is not None
        or node.get("aria-hidden", "").strip().lower() == "true"
        or _HIDING.search(node.get("style", "")) is not None
    )


def control(node: Any) -> str | None:
    """Return what a control of a form or a picture says; None for all other elements."""
    if node.tag == "img":
        return f" {node.get('alt', '')} "
    if node.tag == "input":
        kind = node.get("type", "text").lower()
        if kind in ("checkbox", "radio"):
            return " [ ] " if node.get("checked") is None else " [x] "
        return " " if kind in _PLAIN_INPUTS else f" {node.get('value', '')} "
    if node.tag == "select":
        options = list(node.iter("option"))
        chosen = [option for option in options if option.get("selected") is not None]
        if not chosen and node.get("multiple") is None:
            chosen = options[:1]
        return f" {', '.join(map(_words, chosen))} "
    if node.tag == "datalist":
        return " "
    return None


def list_mark(item: Any, numbers: dict[Any, int]) -> str:
    """Return what stands before an item of a list, with the indent of a list within a list.

    Args:
        numbers: Per list the number of its next item; this one is counted in it.
    """
    above = item.getparent()
    near = islice(item.iterancestors(), _MOST_ABOVE)
    indent = "  " * min(sum(parent.tag in ("ol", "ul") for parent in near) - 1, 8)
    if above is None or above.tag != "ol":
        return f"{indent}- "
    value = _whole_number(item, "value", numbers.get(above, _whole_number(above, "start", 1)))
    numbers[above] = value + 1
    return f"{indent}{value}. "


def _whole_number(node: Any, name: str, other: int) -> int:
    value = node.get(name, "").strip()
    return int(value) if re.fullmatch(r"-?\d{1,9}", value) else other


def shifted(node: Any) -> str:
    """Return raised or lowered text with its mark, where a mark says something."""
    text = _words(node)
    mark = "^" if node.tag == "sup" else "_"
    if not any(map(str.isalnum, text)) or text in _ORDINALS or text.startswith(("[", "(")):
        return text
    return mark + text if re.fullmatch(r"[-+−]?\w+", text) else f"{mark}({text})"


def linear_math(node: Any) -> str:
    """Return an equation in one line: its TeX where the page has it, else what MathML draws."""
    for note in node.iter("annotation"):
        if "tex" in note.get("encoding", "").lower():
            return _words(note)
    return _linear(node, 40).strip()


def _linear(node: Any, deepest: int) -> str:
    """Return an element of MathML as people type it; `deepest` bounds the recursion."""
    parts = [child for child in node if isinstance(child.tag, str) and child.tag != "annotation"]
    if not parts or not deepest:
        text = _words(node)
        return f" {text} " if node.tag in _OPERATORS and len(text) > 1 else text
    inside = [_linear(part, deepest - 1) for part in parts]
    one, two, three = [*map(_grouped, inside), "", "", ""][:3]
    written = {
        "mfrac": f"{one}/{two}",
        "msup": f"{one}^{two}",
        "msub": f"{one}_{two}",
        "msubsup": f"{one}_{two}^{three}",
        "munder": f"{one}_{two}",
        "mover": f"{one}^{two}",
        "munderover": f"{one}_{two}^{three}",
        "msqrt": f"sqrt({' '.join(inside)})",
        "mroot": f"root({two}, {one})",
        "mtr": ", ".join(inside) + "; ",
    }
    return written.get(node.tag, "".join(inside))


def _grouped(text: str) -> str:
    return text if re.fullmatch(r"\s*\w*\s*|\(.*\)", text) else f"({text})"


def _words(node: Any) -> str:
    return " ".join("".join(node.itertext()).split())
