"""The README's picture of a terminal: small, whole, and nothing fetched."""

import re
import runpy
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "docs" / "terminal.py"
PRINTED = "Reading a.txt: 9 characters, about 1 s.\nan [odd] answer\n[a.txt: 9 tokens of text]\n"


def test_the_picture_shows_the_command_and_what_it_printed_and_fetches_nothing():
    script = runpy.run_path(str(SCRIPT))
    for picture in (script["draw"](PRINTED), script["FIGURE"].read_text(encoding="utf-8")):
        assert "e2llm&#160;ask&#160;python-reference.txt" in picture
        assert len(picture.encode()) <= 40_000
        assert not re.search(r"url\((?!#)|href|@import", picture)
    assert "an&#160;[odd]&#160;answer" in script["draw"](PRINTED)
