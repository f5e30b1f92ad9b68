"""What every source is: a sequence of records, read as they are asked for."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from e2llm.errors import UserError
from e2llm.training.data.records import QuestionRecord, Record


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
        return digest(record.context if isinstance(record, QuestionRecord) else record.text)

    def about(self, index: int) -> list[int]:
        """Return, in order, which records are about the same document, this one among them."""
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
        """Split by document: return what is left to train on, and the validation part.

        Args:
            fraction: Part of the records to set aside, all about a document or none; it is not
                exceeded unless the smallest document alone exceeds it.
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
        # The order depends on the seed and the documents' texts, not on where they stand.
        for key in sorted(documents, key=lambda key: digest(f"{seed} {key}")):
            if len(aside) + len(documents[key]) <= fraction * len(self):
                aside += documents[key]
        aside = sorted(aside or documents[min(documents, key=lambda key: len(documents[key]))])
        kept = set(range(len(self))).difference(aside)
        return Part(self, sorted(kept)), Part(self, aside)

    @abstractmethod
    def _record(self, index: int) -> Record:
        """Read a record that is there."""


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


def digest(text: str) -> str:
    """Return a short key of a text; half a character is a text too."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]
