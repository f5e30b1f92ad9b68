"""What the parts of one Word file have in common while they are read."""

from dataclasses import dataclass, field
from typing import Any

from e2llm.documents.formats.office.left_out import LeftOut
from e2llm.documents.formats.office.package import Package
from e2llm.documents.formats.office.word_numbering import Numbering
from e2llm.documents.formats.office.word_styles import Styles


@dataclass
class Shared:
    """What the parts of one file have in common.

    Attributes:
        package: Its parts.
        styles: Its styles.
        numbering: Its lists, which count as they are read.
        left_out: What is not read.
        notes: The notes that were not met yet, each with the part that it is in.
        has_rendered: Whether it says where its pages ended when it was last laid out; its page
            breaks are then among those.
    """

    package: Package
    styles: Styles
    numbering: Numbering
    left_out: LeftOut
    notes: dict[tuple[str, str], tuple[str, Any]] = field(default_factory=dict)
    has_rendered: bool = False
