"""Which files of a folder are left out: rules as in `.gitignore`, in any folder of it."""

import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from e2llm.documents.formats.base import import_package

RULE_FILES = (".gitignore", ".e2llmignore")
# Before all rules, which may take them back: `!.notes/`.
DEFAULT_RULES = (".*", "node_modules/", "__pycache__/", "site-packages/")
# A folder that holds it is a virtual environment of Python.
ENVIRONMENT_FILE = "pyvenv.cfg"


@dataclass(frozen=True)
class Rules:
    """The rules that hold in one folder: its own, then those of the folders around it.

    Attributes:
        folder: Its path from the root of the tree, with "/" behind each name; "" for the root.
        own: A `pathspec` of its own rules; None where it has none.
        around: The rules of the folder around it.
    """

    folder: str = ""
    own: Any = None
    around: "Rules | None" = field(default=None, repr=False)

    @classmethod
    def default(cls) -> "Rules":
        """Return the rules that hold everywhere.

        Raises:
            MissingPackageError: `pathspec` of the extra `documents` is not installed.
        """
        return cls.of(*DEFAULT_RULES)

    @classmethod
    def of(cls, *lines: str) -> "Rules":
        """Return rules for the root of a tree."""
        return cls(own=_parse(lines))

    def inside(self, path: str, folder: str) -> "Rules":
        """Return the rules that hold in a folder inside.

        Args:
            path: Where the folder lies.
            folder: Its path from the root of the tree, with "/" behind each name.
        """
        lines: list[str] = []
        for name in RULE_FILES:
            # What cannot be read has no rules, as with git.
            with suppress(OSError), open(os.path.join(path, name), "rb") as file:
                lines += file.read(1 << 20).decode("utf-8", "replace").splitlines()
        return Rules(folder, _parse(lines), self) if lines else self

    def leaves_out(self, name: str) -> bool:
        """Tell whether a file, or a folder whose name ends in "/", is left out.

        Args:
            name: Its path from the root of the tree.
        """
        rules: Rules | None = self
        while rules is not None:  # the innermost rule that says something holds
            if rules.own is not None:
                included = rules.own.check_file(name[len(rules.folder) :]).include
                if included is not None:
                    return bool(included)
            rules = rules.around
        return False


def _parse(lines: Any) -> Any:
    pathspec = import_package("pathspec", "pathspec", "rules of ignored files")
    with suppress(ValueError):
        return pathspec.GitIgnoreSpec.from_lines(lines)
    good = []  # of lines, for one that is no pattern must not switch off the others
    for line in lines:
        with suppress(ValueError):
            pathspec.GitIgnoreSpec.from_lines([line])
            good.append(line)
    return pathspec.GitIgnoreSpec.from_lines(good)
