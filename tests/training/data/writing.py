"""Small data sets of every form, written by the tests themselves."""

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

WORDS = ("river", "bridge", "hall", "mayor", "library")


def write_lines(path: Path, records: Iterable[Mapping[str, Any] | str]) -> Path:
    """Write JSON Lines, gzipped where the name says so; a string is written as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(
        (record if isinstance(record, str) else json.dumps(record)) + "\n" for record in records
    )
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def texts(n: int = 12) -> list[dict[str, Any]]:
    """Records of the first form."""
    return [
        {"id": f"t{i}", "text": f"Text {i} is about a {WORDS[i % 5]}.\nIt ends.", "source": "town"}
        for i in range(n)
    ]


def questions(n: int = 12, per_document: int = 3) -> list[dict[str, Any]]:
    """Records of the second form; so many in a row share a context."""
    return [
        {
            "id": f"q{i}",
            "context": f"Document {i // per_document} speaks of a "
            f"{WORDS[i % 5 if per_document == 1 else i // per_document % 5]}.",
            "question": f"What is question {i}?",
            "answers": [f"answer {i}", f"reply {i}"],
            "source": "town",
            "split": "train",
        }
        for i in range(n)
    ]


def shared(folder: Path, n: int = 12, per_document: int = 3, suffix: str = ".jsonl.gz") -> Path:
    """A folder whose questions name their documents by `context_id`."""
    write_lines(
        folder / f"docs{suffix}",
        [{"id": f"d{i}", "text": f"Shared document {i}.", "source": "town"} for i in range(n)],
    )
    records = [
        record | {"context": None, "context_id": f"d{i // per_document}"}
        for i, record in enumerate(questions(n, per_document))
    ]
    write_lines(folder / f"train{suffix}", records)
    return folder
