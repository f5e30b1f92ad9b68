"""Notebooks."""

import json
from pathlib import Path

from tests.documents.cases import Case, raw


def _notebook(*cells, **own):
    def make(path: Path) -> None:
        path.write_text(
            json.dumps(
                {
                    "cells": cells,
                    "metadata": {"language_info": {"name": "python"}},
                    "nbformat": 4,
                    "nbformat_minor": 5,
                }
                | own
            )
        )

    return make


def _code(source: str, *outputs):
    return {
        "cell_type": "code",
        "source": source.splitlines(keepends=True),
        "outputs": outputs,
        "metadata": {},
        "execution_count": 1,
    }


def _markdown(source: str, **own):
    return {"cell_type": "markdown", "source": source, "metadata": {}} | own


_PNG = {
    "output_type": "display_data",
    "data": {"image/png": "iVBORw0K" * 99, "text/plain": ["<Figure>"]},
}
_ERROR = {
    "output_type": "error",
    "ename": "ZeroDivisionError",
    "evalue": "division by zero",
    "traceback": ["\x1b[0;31mZeroDivisionError\x1b[0m: division by zero"],
}
_OLD = {
    "worksheets": [
        {
            "cells": [
                {"cell_type": "heading", "level": 2, "source": ["Sums"]},
                {
                    "cell_type": "code",
                    "input": ["1 + 1"],
                    "language": "python",
                    "outputs": [{"output_type": "pyout", "text": ["2"], "png": "iVBORw0K"}],
                },
            ]
        }
    ],
    "metadata": {"name": "old"},
    "nbformat": 3,
}

CASES = [
    Case(
        "cells with their outputs, a picture",
        "a.ipynb",
        _notebook(
            _markdown("# Sums\nWe add."),
            _code(
                "x = 1\nprint(x)",
                {"output_type": "stream", "name": "stdout", "text": ["10%\r100%\n", "1\n"]},
                _PNG,
            ),
        ),
        holds=(
            "# Sums\nWe add.\n\n```python\nx = 1\nprint(x)\n```\n\n",
            "Output:\n```\n100%\n1\n<Figure>\n```",
        ),
        lacks=("iVBOR", "10%\r"),
        notices=("1 picture or file in its cells not read",),
        n_pages=2,
    ),
    Case(
        "an error, with its colours taken off",
        "error.ipynb",
        _notebook(_code("1 / 0", _ERROR)),
        holds=("```python\n1 / 0\n```\n\nOutput:\n```\nZeroDivisionError: division by zero\n```",),
        n_pages=1,
    ),
    Case(
        "a picture attached to a text",
        "attached.ipynb",
        _notebook(
            _markdown("See ![p](attachment:p.png)", attachments={"p.png": {"image/png": "iV"}})
        ),
        holds=("See ![p](attachment:p.png)",),
        notices=("1 picture or file in its cells",),
        n_pages=1,
    ),
    Case(
        "format 3",
        "old.ipynb",
        raw(json.dumps(_OLD).encode()),
        holds=("## Sums\n\n```python\n1 + 1\n```\n\nOutput:\n```\n2\n```",),
        notices=("1 picture or file",),
        n_pages=2,
    ),
    Case("JSON, no notebook", "none.ipynb", raw(b"[1, 2]"), refused="no notebook"),
    Case(
        "damaged",
        "cut.ipynb",
        raw(b'{"cells": [{"source": ["a'),
        holds=('{"cells": [{"source": ["a',),
        notices=("not the JSON of a notebook",),
    ),
]
