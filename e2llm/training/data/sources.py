"""Where training records come from: JSON Lines, data sets on the hub, folders of documents, each as
a sequence that is read as it is asked for.
"""

import hashlib
import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from e2llm.checks import check_choice, check_count
from e2llm.documents import formats
from e2llm.documents.reading import read
from e2llm.errors import E2LLMError, MissingPackageError, UserError
from e2llm.training.data.datasets import DATASETS, find_dataset, pick, read_columns
from e2llm.training.data.lines import SUFFIXES, Lines
from e2llm.training.data.records import FIELDS, QuestionRecord, Record, TextRecord, kind_of, parse

# Documents that questions share, kept as long as they are among the last so many.
_RECENT_DOCUMENTS = 16
_SHARED = "docs"


@dataclass(frozen=True)
class SourceSettings:
    """Where records come from, and how much they count.

    Attributes:
        path: A .jsonl or .jsonl.gz file, a folder with one such file per split, or a folder of
            documents.
        dataset: In its place: a ready loader (a name of `DATASETS`), or a data set of the hub or of
            a folder that `datasets` loads.
        config: Configuration of the data set.
        split: Split of the folder or of the data set.
        columns: Where the data set has other names than a record's fields: field -> column, dotted
            where columns are nested.
        name: What the source is called; default: the folder's, the file's or the data set's name.
        weight: Share of its records against those of other sources.
        limit: Only the first so many records.
        revision: Revision of the data set on the hub.

    Raises:
        UserError: Neither or both of `path` and `dataset` are given, or a field breaks its rule.
    """

    path: str | None = None
    dataset: str | None = None
    config: str | None = None
    split: str = "train"
    columns: dict[str, str] | None = None
    name: str | None = None
    weight: float = 1.0
    limit: int | None = None
    revision: str | None = None

    def __post_init__(self) -> None:
        if (self.path is None) == (self.dataset is None):
            raise UserError(
                f"`path` (={self.path!r}) and `dataset` (={self.dataset!r}): a source is one "
                "of them; give exactly one."
            )
        for field in ("config", "columns", "revision"):
            if self.path is not None and getattr(self, field) is not None:
                raise UserError(
                    f"`{field}` (={getattr(self, field)!r}) goes with `dataset`, and `path` "
                    "is given; leave it out."
                )
        for field in self.columns or {}:
            check_choice("columns", field, FIELDS)
        if not 0 < self.weight < float("inf"):
            raise UserError(
                f"`weight` (={self.weight!r}) must be a number above 0; leave a source out "
                "that is not to be used."
            )
        if self.limit is not None:
            check_count("limit", self.limit, 1)


class Source(ABC):
    """Records of one kind, in a fixed order, of which none is in memory until it is asked for.

    Attributes:
        name: What it is called.
        weight: Share of its records against those of other sources.
    """

    name: str
    weight: float

    @property
    @abstractmethod
    def kind(self) -> str:
        """What its records are: "text" or "question"."""

    @abstractmethod
    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Record:
        """Read a record.

        Raises:
            UserError: It is empty or malformed; the message names its file and line.
            IndexError: There is no such record.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"`index` (={index}) must be at least 0 and less than {len(self)}.")
        return self._record(int(index))

    def __iter__(self) -> Iterator[Record]:
        return (self[index] for index in range(len(self)))

    def document(self, index: int) -> str:
        """Return a key that records about one document share, and no others."""
        record = self[index]
        return _digest(record.context if isinstance(record, QuestionRecord) else record.text)

    def about(self, index: int) -> list[int]:
        """Return, in order, which records are about the document that this one is about, itself
        among them.
        """
        return self._by_document[self.document(index)]

    @cached_property
    def _by_document(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for index in range(len(self)):
            found.setdefault(self.document(index), []).append(index)
        return found

    def check(self) -> None:
        """Refuse at once what is plainly wrong, without reading every record.

        Raises:
            UserError: There are no records, or the first is empty or malformed.
        """
        if not len(self):
            raise UserError(f"`{self.name}` holds no records; name a source that has some.")
        _ = self[0]

    def permutation(self, seed: int, epoch: int) -> np.ndarray:
        """Return the order in which an epoch reads the records, (len,) int64."""
        return np.random.default_rng([seed, epoch]).permutation(len(self))

    def split(self, fraction: float = 0.05, seed: int = 0) -> tuple["Source", "Source"]:
        """Set some documents aside, with every record about them: return what is left to train on,
        and the validation part.

        Args:
            fraction: Part of the records to set aside; it is not exceeded unless the smallest
                document alone exceeds it.
            seed: Decides which.

        Raises:
            UserError: There is only one document, or a record is malformed.
        """
        if not 0 < fraction < 1:
            raise UserError(f"`fraction` (={fraction!r}) must lie between 0 and 1, such as 0.05.")
        documents = self._by_document
        if len(documents) < 2:
            raise UserError(
                f"`{self.name}` holds one document alone, which cannot be split; name a "
                "validation source."
            )
        aside: list[int] = []
        for key in sorted(documents, key=lambda key: _digest(f"{seed} {key}")):
            if len(aside) + len(documents[key]) <= fraction * len(self):
                aside += documents[key]
        aside = sorted(aside or documents[min(documents, key=lambda key: len(documents[key]))])
        kept = set(range(len(self))).difference(aside)
        return Part(self, sorted(kept)), Part(self, aside)

    @abstractmethod
    def _record(self, index: int) -> Record: ...


class Part(Source):
    """Some records of another source.

    Args:
        whole: The other.
        indices: Which of its records, in order.
    """

    def __init__(self, whole: Source, indices: Sequence[int]) -> None:
        self.name, self.weight = whole.name, whole.weight
        self._whole = whole
        self._indices = indices

    @property
    def kind(self) -> str:
        return self._whole.kind

    def __len__(self) -> int:
        return len(self._indices)

    def document(self, index: int) -> str:
        return self._whole.document(self._indices[index])

    def _record(self, index: int) -> Record:
        return self._whole[self._indices[index]]


class LinesSource(Source):
    """The records of a JSON Lines file; documents that they share by `context_id` lie beside it, in
    docs.jsonl or docs.jsonl.gz.
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
        return super().document(index) if context_id is None else _digest(f"{_SHARED} {context_id}")

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
        text = self._recent.pop(context_id, None)
        if text is None:
            if self._lines is None:
                raise UserError(
                    f"{where}: `context` is missing and {self._folder} has no "
                    f"{_SHARED}.jsonl.gz; put it there, or give `context`."
                )
            if context_id not in self._places:
                raise UserError(
                    f"{where}: `context_id` (={context_id!r}) names no document of "
                    f"`{self._lines.path}`; add it there."
                )
            place = self._places[context_id]
            record = parse(self._lines[place], self._lines.where(place), place, _SHARED)
            assert isinstance(record, TextRecord)
            text = record.text
        self._recent[context_id] = text
        if len(self._recent) > _RECENT_DOCUMENTS:
            del self._recent[next(iter(self._recent))]
        return text

    @cached_property
    def _lines(self) -> Lines | None:
        file = _split_file(self._folder, _SHARED)
        return Lines(file) if file else None

    @cached_property
    def _places(self) -> dict[str, int]:
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


class FolderSource(Source):
    """The documents of a folder and of the folders in it, by name."""

    kind = "text"

    def __init__(self, folder: Path, name: str, weight: float) -> None:
        self.name, self.weight = name, weight
        self._folder = folder
        suffixes = formats.suffixes()
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


class HubSource(Source):
    """The rows of a data set that `datasets` loads, memory-mapped."""

    def __init__(self, settings: SourceSettings) -> None:
        assert settings.dataset is not None
        self.name, self.weight = settings.name or settings.dataset, settings.weight
        self._where = f"`{settings.dataset}` ({settings.split})"
        ready = find_dataset(settings.dataset)
        self._rows = _load(settings)
        if ready is not None and settings.columns is None:
            self._read, self._key, self._kind = ready.read, ready.document, "question"
        else:
            columns = self._columns(settings.columns or {})
            self._read, self._key, self._kind = (
                partial(read_columns, columns=columns),
                columns.get("context_id"),
                kind_of(columns),
            )

    @property
    def kind(self) -> str:
        return self._kind

    def __len__(self) -> int:
        return len(self._rows)

    def document(self, index: int) -> str:
        if self._key is None:
            return super().document(index)
        return _digest(str(pick(self._keys[int(index)], self._key)))

    def _record(self, index: int) -> Record:
        where = f"{self._where}, row {index}"
        row = self._rows[index]
        try:
            fields = self._read(row)
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            shown = ", ".join(_paths(row))
            raise UserError(
                f"{where} has not the columns that are read ({error}), but {shown}; name them "
                "with `columns`."
            ) from error
        return parse(fields, where, index, self.name)

    @cached_property
    def _keys(self) -> Any:
        assert self._key is not None
        return self._rows.select_columns([self._key.split(".")[0]])

    def _columns(self, renamed: Mapping[str, str]) -> dict[str, str]:
        there = self._rows.column_names
        columns = {field: field for field in FIELDS if field in there} | dict(renamed)
        missing = [column for column in columns.values() if column.split(".")[0] not in there]
        if not {"text", "question"} & columns.keys():
            missing.append("text or question")
        if missing:
            example = "{context: article, question: query, answers: answers.text}"
            raise UserError(
                f"{self._where} has no column {missing[0]}, but {', '.join(there)}; map them, "
                f"such as `columns: {example}`."
            )
        return columns


def open_source(settings: SourceSettings, check: bool = True) -> Source:
    """Open a source of records.

    Args:
        settings: Where it lies.
        check: Whether to refuse at once what is plainly wrong; every other record is checked when
            it is read.

    Raises:
        UserError: There is no such source, it holds no records, or what it holds has not the form.
        MissingPackageError: `datasets` is needed.
        E2LLMError: The network fails, or the disk is full.

    Example:
        >>> source = open_source(SourceSettings(path="data/town.jsonl"))  # doctest: +SKIP
        >>> training, validation = source.split(0.05, seed=0)  # doctest: +SKIP
        >>> [training[index] for index in training.permutation(seed=0, epoch=0)[:8]]  # doctest: +SKIP
    """
    source = (
        HubSource(settings) if settings.path is None else _open_path(Path(settings.path), settings)
    )
    if check:
        source.check()
    if settings.limit is not None and settings.limit < len(source):
        source = Part(source, range(settings.limit))
    return source


def _open_path(path: Path, settings: SourceSettings) -> Source:
    if not path.exists():
        raise UserError(
            f"`path` (={str(path)!r}) does not exist; name a file of JSON Lines or a folder."
        )
    if path.is_dir():
        name = settings.name or path.resolve().name
        if file := _split_file(path, settings.split):
            return LinesSource(file, name, settings.weight)
        splits = sorted(
            {_stem(file) for file in path.iterdir() if file.name.endswith(SUFFIXES)} - {_SHARED}
        )
        if splits:
            raise UserError(
                f"`split` (={settings.split!r}) must be one that `path` (={str(path)!r}) "
                f"holds a file of: {', '.join(splits)}."
            )
        return FolderSource(path, name, settings.weight)
    if not path.name.endswith(SUFFIXES):
        raise UserError(
            f"`path` (={str(path)!r}) must be a file of JSON Lines ({', '.join(SUFFIXES)}) or "
            "a folder; put documents into a folder."
        )
    return LinesSource(path, settings.name or _stem(path), settings.weight)


def _split_file(folder: Path, split: str) -> Path | None:
    return next(
        (file for suffix in SUFFIXES if (file := folder / f"{split}{suffix}").is_file()), None
    )


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".jsonl")


def _load(settings: SourceSettings) -> Any:
    """Load the rows of a data set, downloaded or generated once and memory-mapped from the cache of
    `datasets`.
    """
    name, ready = str(settings.dataset), find_dataset(str(settings.dataset))
    if ready is None and "/" not in name and not os.path.isdir(name):
        check_choice("dataset", name, list(DATASETS))
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
        cause = (
            error.__cause__
            if isinstance(error, datasets.exceptions.DatasetGenerationError) and error.__cause__
            else error
        )
        reason = " ".join(str(cause).split())[:300].rstrip(".")
        # What the network or the disk did is nobody's mistake; a name that is not found is.
        failed = isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError)
        splits = (
            f"its splits are {', '.join(ready.splits)}"
            if ready
            else "check its name, `config` and `split`"
        )
        raise (E2LLMError if failed else UserError)(
            f"`dataset` (={name!r}, config {config!r}, split {settings.split!r}) cannot be "
            f"loaded ({reason}); {splits}."
        ) from error


def _paths(row: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted path of every column of a row."""
    for name, value in row.items():
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, dict):
            yield from _paths(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]
