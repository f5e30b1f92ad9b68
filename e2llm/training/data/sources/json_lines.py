"""A file of JSON Lines as a source, and the documents that it shares."""

from functools import cached_property
from pathlib import Path

from e2llm.errors import UserError
from e2llm.training.data.lines import SUFFIXES, Lines
from e2llm.training.data.records import Record, TextRecord, kind_of, parse
from e2llm.training.data.sources.base import Source, digest

# Documents that questions share lie in this file beside theirs.
SHARED = "docs"
# They are kept in memory as long as they are among the last so many.
_RECENT_DOCUMENTS = 16


class LinesSource(Source):
    """The records of a JSON Lines file.

    Documents that they share by `context_id` lie beside it, in docs.jsonl or docs.jsonl.gz.
    """

    def __init__(self, path: Path, name: str, weight: float) -> None:
        self.name, self.weight = name, weight
        self._lines = Lines(path)
        self._documents = Documents(path.parent)

    @cached_property
    def kind(self) -> str:
        """What the first record that can be read is."""
        for index in range(len(self)):
            try:
                return kind_of(self._lines[index])
            except UserError:
                continue
        return "text"

    def __len__(self) -> int:
        return len(self._lines)

    def document(self, index: int) -> str:
        context_id = self._lines[index].get("context_id")
        return super().document(index) if context_id is None else digest(f"{SHARED} {context_id}")

    def check(self) -> None:
        super().check()
        if self._lines.suspect is not None:
            _ = self[self._lines.suspect]

    def _record(self, index: int) -> Record:
        fields, where = self._lines[index], self._lines.where(index)
        if kind_of(fields) != self.kind:
            raise UserError(
                f"{where} is a {kind_of(fields)} record among {self.kind} records; give each "
                "kind a file of its own."
            )
        return parse(fields, where, index, self.name, self._documents.text)


class Documents:
    """The documents of a folder that questions share, by id; those used last are kept in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._recent: dict[str, str] = {}

    def text(self, context_id: str, where: str) -> str:
        """Return a document's text.

        Raises:
            UserError: The folder has no such document; the message starts with `where`, who asks.
        """
        text = self._recent.pop(context_id, None)  # it is put back as the last one used
        if text is None:
            if self._lines is None:
                raise UserError(
                    f"{where}: `context` is missing and {self._folder} has no "
                    f"{SHARED}.jsonl.gz; put it there, or give `context`."
                )
            if context_id not in self._places:
                raise UserError(
                    f"{where}: `context_id` (={context_id!r}) names no document of "
                    f"`{self._lines.path}`; add it there."
                )
            place = self._places[context_id]
            record = parse(self._lines[place], self._lines.where(place), place, SHARED)
            assert isinstance(record, TextRecord)  # `_places` has seen to it
            text = record.text
        self._recent[context_id] = text
        if len(self._recent) > _RECENT_DOCUMENTS:
            del self._recent[next(iter(self._recent))]
        return text

    @cached_property
    def _lines(self) -> Lines | None:
        file = split_file(self._folder, SHARED)
        return Lines(file) if file else None

    @cached_property
    def _places(self) -> dict[str, int]:
        """The line of each document by its id."""
        assert self._lines is not None
        places: dict[str, int] = {}
        for place in range(len(self._lines)):
            fields = self._lines[place]
            if kind_of(fields) != "text" or fields.get("id") is None:
                raise UserError(
                    f"{self._lines.where(place)} is no document; it must have `id` and "
                    "`text`, and no `question`."
                )
            if places.setdefault(str(fields["id"]), place) != place:
                raise UserError(
                    f"{self._lines.where(place)}: `id` (={fields['id']!r}) stands there a "
                    "second time; give each document its own."
                )
        return places


def split_file(folder: Path, split: str) -> Path | None:
    """Return the file of a split in a folder, plain or gzip, or None."""
    return next(
        (file for suffix in SUFFIXES if (file := folder / f"{split}{suffix}").is_file()), None
    )
