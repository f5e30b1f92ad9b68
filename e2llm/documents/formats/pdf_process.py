"""What runs beside the reader of PDFs: PDFium, in a process that can be ended.

A page can be made so that drawing it takes for ever or all memory, and a damaged file may crash
what reads it. The file is standard input; each page is a line of JSON on standard output.
"""

import ctypes
import dataclasses
import json
import sys
from typing import Any

from e2llm.documents.formats.pdf_page import Chars, Page, page_text

MAX_BYTES = 2**30  # of memory, beside that which the file takes


def main() -> None:
    """Write what `Head` says, a `Page` for each page, and `Tail`, as lines of JSON."""
    import pypdfium2
    import pypdfium2.raw as raw

    data = sys.stdin.buffer.read()
    _limit_memory(MAX_BYTES + 3 * len(data))
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        _write({"refused": "encrypted" if "assword" in str(error) else "damaged"})
        return
    _write({"n_pages": len(document)})
    document.init_forms()
    for at in range(len(document)):
        try:
            page = document[at]
        except pypdfium2.PdfiumError:
            _write(dataclasses.asdict(Page(is_lost=True)))
            continue
        _write(dataclasses.asdict(_read_page(raw, document, page)))
        page.close()
    xfa = (raw.FORMTYPE_XFA_FULL, raw.FORMTYPE_XFA_FOREGROUND)
    _write(
        {
            "has_xfa": raw.FPDF_GetFormType(document) in xfa,
            "files": [
                _string(raw.FPDFAttachment_GetName, raw.FPDFDoc_GetAttachment(document, at))
                for at in range(raw.FPDFDoc_GetAttachmentCount(document))
            ],
        }
    )


def _write(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


def _limit_memory(n_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # Windows has none
        return
    resource.setrlimit(resource.RLIMIT_AS, (n_bytes, n_bytes))


def _read_page(raw: Any, document: Any, page: Any) -> Page:
    text_page = page.get_textpage()
    chars = Chars(raw, text_page)
    values: dict[int, str] = {}
    below: list[str] = []
    notes: list[str] = []
    for number in range(raw.FPDFPage_GetAnnotCount(page)):
        annotation = raw.FPDFPage_GetAnnot(page, number)
        if not annotation:
            continue
        kind = raw.FPDFAnnot_GetSubtype(annotation)
        if kind == raw.FPDF_ANNOT_WIDGET and document.formenv:
            _read_field(raw, document.formenv, annotation, chars, values, below)
        elif kind not in (raw.FPDF_ANNOT_LINK, raw.FPDF_ANNOT_POPUP, raw.FPDF_ANNOT_WIDGET):
            note = _string(raw.FPDFAnnot_GetStringValue, annotation, b"Contents")
            if note.strip():
                notes.append(" ".join(note.split()))
        raw.FPDFPage_CloseAnnot(annotation)
    text = "\n".join([page_text(chars, values), *below]).strip("\n")
    kinds = (
        raw.FPDFPageObj_GetType(raw.FPDFPage_GetObject(page, at))
        for at in range(raw.FPDFPage_CountObjects(page))
    )
    has_pictures = any(kind != raw.FPDF_PAGEOBJ_TEXT for kind in kinds)
    text_page.close()
    return Page(text, chars.n_drawn, chars.n_unmapped, has_pictures, notes=notes)


def _read_field(
    raw: Any,
    form: Any,
    annotation: Any,
    chars: Chars,
    values: dict[int, str],
    below: list[str],
) -> None:
    """Put a field's value behind the text on its left, or else below the page with its name."""
    kind = raw.FPDFAnnot_GetFormFieldType(form, annotation)
    ticked = kind in (raw.FPDF_FORMFIELD_CHECKBOX, raw.FPDF_FORMFIELD_RADIOBUTTON)
    if ticked:
        value = "[x]" if raw.FPDFAnnot_IsChecked(form, annotation) else "[ ]"
    elif kind == raw.FPDF_FORMFIELD_PUSHBUTTON:
        return
    else:
        value = _string(raw.FPDFAnnot_GetFormFieldValue, form, annotation).strip()
    if not value:
        return
    box = raw.FS_RECTF()
    raw.FPDFAnnot_GetRect(annotation, box)
    level = chars.level_with(box.bottom - 2, box.top + 2)
    rights = ((chars.box(at)[2], at) for at in level)
    left = max((found for found in rights if found[0] <= box.left + 2), default=None)
    if left:
        values[left[1]] = f"{values[left[1]]} {value}" if left[1] in values else value
    else:
        name = _string(raw.FPDFAnnot_GetFormFieldAlternateName, form, annotation) or _string(
            raw.FPDFAnnot_GetFormFieldName, form, annotation
        )
        right = "".join(chr(chars.codes[at]) for at in level if chars.box(at)[0] >= box.right - 2)
        below.append(f"{value} {right}" if ticked and right else f"{name}: {value}")


def _string(call: Any, *arguments: Any) -> str:
    """Return the UTF-16 string that one of PDFium's functions writes."""
    n_bytes = call(*arguments, None, 0)
    if n_bytes <= 2:
        return ""
    buffer = ctypes.create_string_buffer(n_bytes)
    call(*arguments, ctypes.cast(buffer, ctypes.POINTER(ctypes.c_ushort)), n_bytes)
    return buffer.raw[: n_bytes - 2].decode("utf-16-le", "replace")
