"""The parts of an Office Open XML file and their relations, looked up with patience.

A relation that points nowhere, as programs leave behind, is as if it were not there.
"""

import posixpath
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from e2llm.documents.formats.office.xml import attribute, parse
from e2llm.documents.formats.zipped import Archive
from e2llm.errors import ReadError

TYPES = "[Content_Types].xml"


@dataclass(frozen=True)
class Relation:
    """What one part says of another.

    Attributes:
        kind: The last word of its type, e.g. "footnotes".
        target: The other part's name; an address where it is outside of the file.
        outside: Whether it is.
    """

    kind: str
    target: str
    outside: bool


class Package:
    """The parts of one file.

    Args:
        archive: Its zip.
        suffix: What such files end in, for messages.
    """

    def __init__(self, archive: Archive, suffix: str) -> None:
        self.archive = archive
        self.suffix = suffix
        self._relations: dict[str, dict[str, Relation]] = {}

    def relations(self, part: str) -> dict[str, Relation]:
        """Return the relations of a part by their ids; "" is the whole file."""
        if part not in self._relations:
            folder, name = posixpath.split(part)
            root = self.part(posixpath.join(folder, "_rels", name + ".rels"))
            self._relations[part] = {
                attribute(element, "Id"): self._relation(element, folder)
                for element in (root if root is not None else ())
            }
        return self._relations[part]

    @staticmethod
    def _relation(element: Any, folder: str) -> Relation:
        target = attribute(element, "Target")
        outside = attribute(element, "TargetMode") == "External"
        if not outside:
            target = posixpath.normpath(posixpath.join("/", folder, unquote(target))).lstrip("/")
        return Relation(attribute(element, "Type").rpartition("/")[2], target, outside)

    def related(self, part: str, kind: str) -> list[str]:
        """Return the names of the parts that one has a relation of that kind to, as they stand."""
        return [
            relation.target
            for relation in self.relations(part).values()
            if relation.kind == kind and not relation.outside and self.archive.has(relation.target)
        ]

    def target(self, part: str, relation_id: str) -> str:
        """Return the name of the part that a relation points to; "" where there is none."""
        relation = self.relations(part).get(relation_id)
        if relation is None or relation.outside or not self.archive.has(relation.target):
            return ""
        return relation.target

    def part(self, name: str) -> Any:
        """Parse a part; None where there is none."""
        data = self.archive.load(name) if name else b""
        return parse(data, self.suffix) if data else None

    def main(self, usual: str) -> str:
        """Return the name of the main part.

        Args:
            usual: What it is called where nothing says so.

        Raises:
            ReadError: There is none.
        """
        found = [*self.related("", "officeDocument"), usual]
        name = next((name for name in found if self.archive.has(name)), "")
        if not name:
            raise ReadError(
                f"is a {self.suffix} without its main part: open it in its program and save it "
                "again"
            )
        return name


def has_type(archive: Archive, types: re.Pattern[bytes], usual: str) -> bool:
    """Say whether an archive says that its main part is of a type.

    Where it does not say what it holds, its usual main part's name tells it.
    """
    declared = archive.load(TYPES)
    return types.search(declared) is not None if declared else archive.has(usual)
