"""What is drawn in Office files and has words: diagrams, and how pictures are described."""

from typing import Any

from e2llm.documents.formats.office.xml import NAMES, attribute, child

# Points of a diagram that hold no text of their own.
_HELPERS = ("pres", "parTrans", "sibTrans", "doc")
# What programs write where nobody described a picture.
_MACHINE = ("description automatically generated", "ai-generated content may be incorrect")


def diagram_text(root: Any) -> list[str]:
    """Return the text of each point of a diagram (SmartArt).

    Args:
        root: The part that holds the diagram's data.
    """
    points = child(root, "dgm:ptLst")
    texts = []
    for point in () if points is None else points:
        if attribute(point, "type") not in _HELPERS:
            words = (inner.text or "" for inner in point.iter() if NAMES[inner.tag] == "a:t")
            texts.append(" ".join("".join(words).split()))
    return [text for text in texts if text]


def described(drawing: Any) -> str:
    """Return how a drawing is described for those who do not see it; "" where nobody did.

    Args:
        drawing: A `w:drawing`, `w:pict`, or a shape of a slide.
    """
    for inner in drawing:
        name = NAMES[inner.tag]
        if name in ("wp:inline", "wp:anchor"):
            return _words(child(inner, "wp:docPr"))
        if name in ("v:shape", "v:rect"):
            return _clean(attribute(inner, "alt"))
        if name in ("p:nvPicPr", "p:nvGraphicFramePr", "p:nvSpPr", "p:nvGrpSpPr"):
            return _words(child(inner, "p:cNvPr"))
    return ""


def _words(properties: Any) -> str:
    if properties is None:
        return ""
    return _clean(attribute(properties, "descr") or attribute(properties, "title"))


def _clean(text: str) -> str:
    text = " ".join(text.split())
    machine = next((words for words in _MACHINE if words in text.lower()), "")
    if machine:
        text = text[: text.lower().index(machine)].strip(" ,.")
    return text
