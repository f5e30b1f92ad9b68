"""Sources of records, and the one place where they are opened."""

from pathlib import Path

from e2llm.checks import name_some
from e2llm.errors import UserError
from e2llm.training.data.lines import SUFFIXES
from e2llm.training.data.sources.base import Part, Source
from e2llm.training.data.sources.folder import FolderSource
from e2llm.training.data.sources.hub import HubSource
from e2llm.training.data.sources.json_lines import SHARED, LinesSource, split_file
from e2llm.training.data.sources.settings import SourceSettings

__all__ = ["Part", "Source", "SourceSettings", "open_source"]


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
        >>> order = training.permutation(seed=0, epoch=0)  # doctest: +SKIP
        >>> [training[index] for index in order[:8]]  # doctest: +SKIP
    """
    source: Source
    if settings.path is None:
        source = HubSource(settings)
    else:
        source = _open_path(Path(settings.path), settings)
    if check:
        source.check()
    if settings.limit is not None and settings.limit < len(source):
        source = Part(source, range(settings.limit))
    return source


def _open_path(path: Path, settings: SourceSettings) -> Source:
    """Open a file of JSON Lines, a folder with one per split, or a folder of documents."""
    if not path.exists():
        raise UserError(
            f"`path` (={str(path)!r}) does not exist; name a file of JSON Lines or a folder."
        )
    if path.is_dir():
        name = settings.name or path.resolve().name
        # A file of the split comes first: what else lies there may be its documents.
        if file := split_file(path, settings.split):
            return LinesSource(file, name, settings.weight)
        splits = sorted(
            {_stem(file) for file in path.iterdir() if file.name.endswith(SUFFIXES)} - {SHARED}
        )
        if splits:
            raise UserError(
                f"`split` (={settings.split!r}) must be one that `path` (={str(path)!r}) "
                f"holds a file of: {name_some(splits, 'list the folder')}."
            )
        return FolderSource(path, name, settings.weight)
    if not path.name.endswith(SUFFIXES):
        raise UserError(
            f"`path` (={str(path)!r}) must be a file of JSON Lines ({', '.join(SUFFIXES)}) or "
            "a folder; put documents into a folder."
        )
    return LinesSource(path, settings.name or _stem(path), settings.weight)


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".jsonl")
