"""A folder of documents as a source."""

from pathlib import Path

from e2llm.documents import formats
from e2llm.documents.reading import read
from e2llm.errors import UserError
from e2llm.training.data.records import Record, TextRecord
from e2llm.training.data.sources.base import Source


class FolderSource(Source):
    """The documents of a folder and of the folders in it, by name."""

    kind = "text"

    def __init__(self, folder: Path, name: str, weight: float) -> None:
        self.name, self.weight = name, weight
        self._folder, suffixes = folder, formats.suffixes()
        self._files = sorted(
            file.relative_to(folder).as_posix()
            for file in folder.rglob("*")
            if file.suffix.lower() in suffixes and not file.name.startswith(".")
        )

    def __len__(self) -> int:
        return len(self._files)

    def check(self) -> None:
        if not self._files:
            raise UserError(
                f"`path` (={str(self._folder)!r}) holds no records: neither a file of JSON "
                f"Lines nor a document ({formats.names()})."
            )
        super().check()

    def _record(self, index: int) -> Record:
        file = self._files[index]
        return TextRecord(file, read(self._folder / file).text, self.name)
