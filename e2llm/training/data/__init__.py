"""Where training records come from, and what one looks like; no torch."""

from e2llm.training.data.datasets import DATASETS, NamedDataset
from e2llm.training.data.records import QuestionRecord, Record, TextRecord
from e2llm.training.data.sources import Source, SourceSettings, open_source

__all__ = [
    "DATASETS",
    "NamedDataset",
    "QuestionRecord",
    "Record",
    "Source",
    "SourceSettings",
    "TextRecord",
    "open_source",
]
