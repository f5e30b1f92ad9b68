"""What files are called: the last name of the path, and as much before it as tells them apart."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath


def tell_apart(paths: Sequence[str]) -> list[str]:
    """Return a name for each path: the shortest end of it that no other path has too.

    The same path twice has one name.

    Example:
        >>> tell_apart(["a/x/report.md", "b/x/report.md", "notes.md"])
        ['a/x/report.md', 'b/x/report.md', 'notes.md']
    """
    parts = {path: PurePath(path).parts or (path,) for path in paths}
    longest = max(map(len, parts.values()), default=0)
    names: dict[str, str] = {}
    for n_parts in range(1, longest + 1):
        left = [path for path in parts if path not in names]
        ends = {path: PurePath(*parts[path][-n_parts:]).as_posix() for path in left}
        counts = Counter(ends.values())
        names |= {
            path: end
            for path, end in ends.items()
            if counts[end] == 1 or n_parts >= len(parts[path]) or n_parts == longest
        }
    return [names[path] for path in paths]
