"""How the site reads docstrings: two arguments described together, one example.

`dtype, device: ...` describes two arguments, and the parser knows but one; it takes `Examples:` for
code, and not `Example:`.
"""

import re
from typing import Any

from griffe import Docstring, Extension

# Several names before one colon, and the lines of their text, which are indented deeper.
TOGETHER = re.compile(
    r"^(?P<indent> {4})(?P<names>\w+(?:, \w+)+): (?P<text>.*(?:\n(?P=indent) +\S.*)*)$",
    re.MULTILINE,
)


class HouseForm(Extension):
    """Rewrite docstrings in the form of this package to the one that the parser knows."""

    def on_object(self, *, obj: Any, **others: Any) -> None:
        """Rewrite the docstring of an object."""
        if isinstance(obj.docstring, Docstring):
            value = TOGETHER.sub(_split, obj.docstring.value)
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", value, flags=re.MULTILINE)


def _split(match: re.Match[str]) -> str:
    entries = (f"{match['indent']}{name}: {match['text']}" for name in match["names"].split(", "))
    return "\n".join(entries)
