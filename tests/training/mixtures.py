"""Sources that say what is read of them, and what the batches of a mixture hold."""

from dataclasses import dataclass

from e2llm.training.data.records import TextRecord
from e2llm.training.data.sources import Source


@dataclass
class Counted(Source):
    """A source that says which of its records are read."""

    whole: Source
    name: str = ""
    weight: float = 1.0

    def __post_init__(self):
        self.name = self.name or self.whole.name
        self.read: list[int] = []

    @property
    def kind(self):
        return self.whole.kind

    def __len__(self):
        return len(self.whole)

    def _record(self, index):
        self.read.append(index)
        return self.whole[index]


class Texts(Source):
    """Texts in memory."""

    name, weight, kind = "texts", 1.0, "text"

    def __init__(self, texts):
        self.texts = texts

    def __len__(self):
        return len(self.texts)

    def _record(self, index):
        return TextRecord(str(index), self.texts[index], "texts")


def ids_of(batch):
    """What tells a batch from another."""
    return (
        batch.task,
        batch.ratio,
        [(sample.name, sample.prompt_ids, sample.answer_ids) for sample in batch.samples],
    )


def all_of(mixture):
    """The same of all the batches of a mixture."""
    return [ids_of(mixture[index]) for index in range(len(mixture))]
