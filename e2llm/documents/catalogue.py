"""What a library holds at one moment, for many look-ups: a library reads its folder for each."""

from bisect import bisect_left
from collections.abc import Iterable

from e2llm.documents.entry import Entry

# Digits of a key that may stand for a document.
LEAST_DIGITS = 6


class Catalogue:
    """Entries by name and by key.

    Args:
        entries: Of the library, in any order.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._by_key: dict[str, Entry] = {}
        entries = list(entries)
        for entry in entries:  # a document's further names come behind
            self._by_key.setdefault(entry.key, entry)
        self._keys = sorted(self._by_key)
        self._by_name: dict[str, list[Entry]] = {}
        newest_first = sorted(entries, key=lambda entry: -entry.created_s)
        for entry in newest_first:
            self._by_name.setdefault(entry.name, []).append(entry)

    def __contains__(self, key: str) -> bool:
        return key in self._by_key

    def find(self, name: str) -> list[Entry]:
        """Return the entries of exactly this name, the most recently created first.

        Where there are none: the one entry whose key begins with `name`, of 6 digits or more.
        """
        if name in self._by_name:
            return list(self._by_name[name])
        start = name.lower()
        place = bisect_left(self._keys, start)
        matching = [key for key in self._keys[place : place + 2] if key.startswith(start)]
        if len(name) < LEAST_DIGITS or len(matching) != 1:
            return []
        return [self._by_key[matching[0]]]
