"""In which encoding a file's text is read: what was given for all of them, or for some by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from e2llm.documents.formats.encoding import decode
from e2llm.errors import UserError


@dataclass(frozen=True)
class Encodings:
    """The encodings that were given.

    Attributes:
        everywhere: Of files that no pattern matches; None for what their bytes say.
        patterns: Pairs of a pattern of names and an encoding, in the order given.

    Example:
        >>> encodings = Encodings.parse(["utf-16", "legacy/*.txt=cp1252"])
        >>> encodings.of("legacy/a.txt"), encodings.of("b.txt")
        ('cp1252', 'utf-16')
    """

    everywhere: str | None = None
    patterns: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, given: Sequence[str]) -> "Encodings":
        """Turn what was typed into encodings: `cp1252`, or `legacy/*.txt=cp1252` for some files.

        Raises:
            UserError: Python knows no encoding of that name, or two are given for all files.
        """
        everywhere: list[str] = []
        patterns: list[tuple[str, str]] = []
        for one in given:
            pattern, equals, encoding = one.rpartition("=")
            decode(b"", encoding)
            if equals:
                patterns.append((pattern, encoding))
            else:
                everywhere.append(encoding)
        if len(everywhere) > 1:
            raise UserError(
                f"`--encoding` (={everywhere[1]}) is given for all files twice; name some of them, "
                "as in --encoding 'legacy/*.txt=cp1252'."
            )
        return cls(everywhere[0] if everywhere else None, tuple(patterns))

    def of(self, name: str) -> str | None:
        """Return the encoding of the file of this name: the last pattern that matches counts.

        A pattern matches the end of a path as well as the whole.
        """
        for pattern, encoding in reversed(self.patterns):
            if fnmatchcase(name, pattern) or fnmatchcase(name, f"*/{pattern}"):
                return encoding
        return self.everywhere
