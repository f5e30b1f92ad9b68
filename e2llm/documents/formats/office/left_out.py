"""What a file holds and its text does not: counted while it is read, and said once."""

from collections import Counter

# In the order in which they are named.
_THINGS = {
    "picture": "pictures",
    "chart": "charts",
    "diagram": "diagrams",
    "equation": "equations",
    "embedded object": "embedded objects",
    "inserted file": "inserted files",
    "sound or film": "sounds and films",
}


class LeftOut:
    """Counts of what is not read.

    Example:
        >>> left_out = LeftOut()
        >>> left_out.counts["picture"] += 2
        >>> left_out.notices()
        ('2 pictures are not read',)
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.n_comments = 0
        self.n_hidden_chars = 0
        self.fonts: Counter[str] = Counter()  # characters that have none in Unicode, by font

    def notices(self) -> tuple[str, ...]:
        """Return a line for each kind of thing."""
        lines = []
        counted = [
            f"{self.counts[one]:,} {one if self.counts[one] == 1 else many}"
            for one, many in _THINGS.items()
            if self.counts[one]
        ]
        if counted:
            listed = " and ".join(filter(None, (", ".join(counted[:-1]), counted[-1])))
            alone = len(counted) == 1 and counted[0].startswith("1 ")
            lines.append(f"{listed} {'is' if alone else 'are'} not read")
        if self.n_comments:
            lines.append(
                "1 comment is not read"
                if self.n_comments == 1
                else f"{self.n_comments:,} comments are not read"
            )
        if self.n_hidden_chars:
            lines.append(f"hidden text is left out ({self.n_hidden_chars:,} characters)")
        if self.fonts:
            names = ", ".join(sorted(self.fonts)[:3])
            lines.append(
                f"{self.fonts.total():,} symbols of {names} have no Unicode character and are "
                "replaced by \ufffd"
            )
        return tuple(lines)
