"""Where records come from, and how much they count, as a recipe says it."""

from dataclasses import dataclass

from e2llm.checks import check_choice, check_count
from e2llm.errors import UserError
from e2llm.training.data.records import FIELDS


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
