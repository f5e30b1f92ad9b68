"""A data set that `datasets` loads, as a source."""

import importlib
import os
from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from typing import Any

from e2llm.checks import check_choice, name_some
from e2llm.errors import E2LLMError, MissingPackageError, UserError
from e2llm.training.data.datasets import DATASETS, find_dataset, pick, read_columns
from e2llm.training.data.records import FIELDS, Record, kind_of, parse
from e2llm.training.data.sources.base import Source, digest
from e2llm.training.data.sources.settings import SourceSettings


class HubSource(Source):
    """The rows of a data set that `datasets` loads, memory-mapped."""

    def __init__(self, settings: SourceSettings) -> None:
        assert settings.dataset is not None
        self.name, self.weight = settings.name or settings.dataset, settings.weight
        self._where = f"`{settings.dataset}` ({settings.split})"
        ready = find_dataset(settings.dataset)
        self._rows = _load(settings)
        # Columns that a recipe names have the last word, over those of a ready loader too.
        if ready is not None and settings.columns is None:
            self._read, self._key, self._kind = ready.read, ready.document, "question"
        else:
            columns = self._columns(settings.columns or {})
            self._read = partial(read_columns, columns=columns)
            self._key, self._kind = columns.get("context_id"), kind_of(columns)

    @property
    def kind(self) -> str:
        return self._kind

    def __len__(self) -> int:
        return len(self._rows)

    def document(self, index: int) -> str:
        if self._key is None:
            return super().document(index)
        return digest(str(pick(self._keys[int(index)], self._key)))

    def _record(self, index: int) -> Record:
        where = f"{self._where}, row {index}"
        row = self._rows[index]
        try:
            fields = self._read(row)
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            there = name_some(_paths(row), "the data set's card names them")
            raise UserError(
                f"{where} has not the columns that are read ({error}), but {there}; name them "
                "with `columns`."
            ) from error
        return parse(fields, where, index, self.name)

    @cached_property
    def _keys(self) -> Any:
        assert self._key is not None
        # Reading whole rows, each with its document, would take long.
        return self._rows.select_columns([self._key.split(".")[0]])

    def _columns(self, renamed: Mapping[str, str]) -> dict[str, str]:
        """Return the column that each field of a record is read from."""
        there = self._rows.column_names
        columns = {field: field for field in FIELDS if field in there} | dict(renamed)
        missing = [column for column in columns.values() if column.split(".")[0] not in there]
        if not {"text", "question"} & columns.keys():
            missing.append("text or question")
        if missing:
            example = "{context: article, question: query, answers: answers.text}"
            raise UserError(
                f"{self._where} has no column {missing[0]}, but "
                f"{name_some(there, 'its card names them')}; map them, such as `columns: "
                f"{example}`."
            )
        return columns


def _load(settings: SourceSettings) -> Any:
    """Load the rows of a data set, memory-mapped from the cache of `datasets`."""
    name, ready = str(settings.dataset), find_dataset(str(settings.dataset))
    if ready is None and "/" not in name and not os.path.isdir(name):
        check_choice("dataset", name, list(DATASETS), "e2llm.training.data.DATASETS")
    try:
        datasets: Any = importlib.import_module("datasets")
    except ImportError as error:
        raise MissingPackageError("`dataset` needs datasets: pip install 'e2llm[train]'") from error
    config = settings.config or (ready.config if ready else None)
    options: dict[str, Any] = {"name": config, "revision": settings.revision}
    hub = ready.hub if ready else name
    if ready is not None and ready.files is not None:
        files = ready.files.format(
            hub=hub, revision=settings.revision or "main", config=config, split=settings.split
        )
        hub, options = "json", {"data_files": {settings.split: files}}
    try:
        return datasets.load_dataset(hub, split=settings.split, **options)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        generating = isinstance(error, datasets.exceptions.DatasetGenerationError)
        cause = (generating and error.__cause__) or error
        reason = " ".join(str(cause).split())[:300].rstrip(".")
        # What the network or the disk did is nobody's mistake; a name that is not found is.
        failed = isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError)
        way_out = "check its name, `config` and `split`"
        if ready:
            way_out = f"its splits are {', '.join(ready.splits)}"
        raise (E2LLMError if failed else UserError)(
            f"`dataset` (={name!r}, config {config!r}, split {settings.split!r}) cannot be "
            f"loaded ({reason}); {way_out}."
        ) from error


def _paths(row: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted path of every column of a row."""
    for name, value in row.items():
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, dict):
            yield from _paths(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
