"""Presentations of PowerPoint and LibreOffice."""

import io
from pathlib import Path

from PIL import Image
from pptx import Presentation
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from tests.documents.cases import Case
from tests.documents.office_files import change_zip

_BOX = (Inches(1), Inches(1), Inches(3), Inches(1))


def _shown(*fill, layout: int = 5):
    """Return what writes a presentation: a slide for each function, which fills it."""

    def make(path: Path) -> None:
        presentation = Presentation()
        for each in fill:
            each(presentation.slides.add_slide(presentation.slide_layouts[layout]))
        presentation.save(str(path))

    return make


def _titled(slide, title: str = "Costs") -> None:
    slide.shapes.title.text = title


def _listed(slide) -> None:
    _titled(slide)
    frame = slide.placeholders[1].text_frame
    frame.text = "rent"
    for text, level in (("heat", 1), ("food", 0)):
        paragraph = frame.add_paragraph()
        paragraph.text, paragraph.level = text, level


def _noted(slide) -> None:
    _titled(slide, "Plan")
    slide.notes_slide.notes_text_frame.text = "Mention the delay."


def _grouped(slide) -> None:
    _titled(slide)
    group = slide.shapes.add_group_shape()
    group.shapes.add_textbox(*_BOX).text_frame.text = "first in the group"
    inner = group.shapes.add_group_shape()
    inner.shapes.add_textbox(*_BOX).text_frame.text = "deep in the group"


def _tabled(slide) -> None:
    table = slide.shapes.add_table(3, 2, *_BOX).table
    for row, texts in enumerate([("Who", "Sold"), ("Dask", "7")]):
        for column, text in enumerate(texts):
            table.cell(row, column).text = text
    table.cell(2, 0).merge(table.cell(2, 1))
    table.cell(2, 0).text = "total 7"


def _pictured(slide) -> None:
    _titled(slide)
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    shape = slide.shapes.add_picture(picture, *_BOX)
    shape._element.nvPicPr.cNvPr.set("descr", "A map of Bonn")
    data = CategoryChartData()
    data.categories = ["a"]
    data.add_series("s", (1,))
    slide.shapes.add_chart(XL_CHART_TYPE.PIE, *_BOX, data)


def _raised(slide) -> None:
    paragraph = slide.shapes.add_textbox(*_BOX).text_frame.paragraphs[0]
    for text, shift in (("10", ""), ("11", "30000"), (" stars, H", ""), ("2", "-25000"), ("O", "")):
        run = paragraph.add_run()
        run.text = text
        if shift:
            run.font._element.set("baseline", shift)


def _hidden(slide) -> None:
    _titled(slide, "Only for questions")
    slide._element.set("show", "0")


def _moved(path: Path) -> None:
    _shown(lambda slide: _titled(slide, "One"), lambda slide: _titled(slide, "Two"))(path)
    presentation = Presentation(str(path))
    order = presentation.slides._sldIdLst
    order.insert(0, order[1])
    presentation.save(str(path))


def _dangling(path: Path) -> None:
    _shown(_titled)(path)
    change_zip(
        path,
        {
            "ppt/slideLayouts/slideLayout6.xml": None,
            "ppt/theme/theme1.xml": None,
            "ppt/slideMasters/slideMaster1.xml": None,
        },
    )


CASES = [
    Case(
        "title and items of two levels",
        "items.pptx",
        _shown(_listed, layout=1),
        holds=("# Costs\n\n- rent\n  - heat\n- food",),
        n_pages=1,
    ),
    Case(
        "speaker notes",
        "notes.pptx",
        _shown(_noted),
        holds=("# Plan\n\nSpeaker notes: Mention the delay.",),
        n_pages=1,
    ),
    Case(
        "text in groups of groups",
        "groups.pptx",
        _shown(_grouped),
        holds=("# Costs", "first in the group", "deep in the group"),
        n_pages=1,
    ),
    Case(
        "table with a merged cell",
        "table.pptx",
        _shown(_tabled),
        holds=("| Who | Sold |\n|---|---|\n| Dask | 7 |\n| total 7 |  |",),
        n_pages=1,
    ),
    Case(
        "a described picture and a chart",
        "pictures.pptx",
        _shown(_pictured),
        holds=("[picture: A map of Bonn]",),
        notices=("1 picture and 1 chart are not read",),
        n_pages=1,
    ),
    Case(
        "raised and lowered text",
        "raised.pptx",
        _shown(_raised),
        holds=("10^11 stars, H_2O",),
        n_pages=1,
    ),
    Case(
        "a hidden slide",
        "hidden.pptx",
        _shown(_titled, _hidden),
        holds=("# Costs", "# Only for questions"),
        notices=("hidden slides are read too (2)",),
        n_pages=2,
    ),
    Case("slides that were moved", "moved.pptx", _moved, holds=("# Two", "# One"), n_pages=2),
    Case("relations that point nowhere", "dangling.pptx", _dangling, holds=("# Costs",), n_pages=1),
]
