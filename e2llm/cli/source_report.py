"""What `e2llm data check` finds in a source of training records."""

import statistics
import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.progress import TaskProgressColumn

from e2llm.cli.terminal import progress_bar
from e2llm.errors import UserError

if TYPE_CHECKING:
    from e2llm.model import E2LLMProcessor
    from e2llm.training.data import Record, Source

_N_ERRORS = 5
_SAMPLE_CHARS = 160


@dataclass
class SourceReport:
    """Token counts of the records that are well formed, and what is wrong with the rest.

    Attributes:
        name, n_records, kind: The source's own.
        documents: Tokens of each text, by its hash.
        questions, answers: Tokens of each.
        samples: Some records, each on a line.
        errors: What is wrong with the first few.
        n_bad: Records that are empty or malformed.
    """

    name: str
    n_records: int
    kind: str = ""
    documents: dict[int, int] = field(default_factory=dict)
    questions: list[int] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    samples: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    n_bad: int = 0

    @classmethod
    def read(cls, source: "Source", processor: "E2LLMProcessor", n_samples: int) -> "SourceReport":
        """Read every record of a source."""
        report = cls(source.name, len(source), source.kind)
        shown = set(source.permutation(seed=0, epoch=0)[:n_samples].tolist())
        with progress_bar(TaskProgressColumn()) as bar:
            for index in bar.track(range(len(source)), description=f"Reading {source.name}"):
                try:
                    record = source[index]
                except UserError as error:
                    report.n_bad += 1
                    if report.n_bad <= _N_ERRORS:
                        report.errors.append(str(error))
                    continue
                report._count(record, processor)
                if index in shown:
                    report.samples.append(_sample(record))
        return report

    def facts(self, max_tokens: int) -> dict[str, Any]:
        """Return what was found; lengths above `max_tokens` count as truncated."""
        lengths = {
            "documents": list(self.documents.values()),
            "questions": self.questions,
            "answers": self.answers,
        }
        return {
            "name": self.name,
            "kind": self.kind,
            "n_records": self.n_records,
            "n_bad": self.n_bad,
            "errors": self.errors,
            "n_documents": len(self.documents),
            "tokens": {what: _spread(tokens) for what, tokens in lengths.items() if tokens},
            "n_truncated": {
                what: sum(count > max_tokens for count in lengths[what])
                for what in ("documents", "answers")
            },
            "samples": self.samples,
        }

    def print(self, max_tokens: int) -> None:
        """Print what was found, in lines."""
        facts = self.facts(max_tokens)
        print(
            f"{self.name}: {self.n_records:,} {self.kind} records, "
            f"{len(self.documents):,} documents, {self.n_bad:,} malformed"
        )
        for what, tokens in facts["tokens"].items():
            over = ""
            if what in facts["n_truncated"]:
                over = f", {facts['n_truncated'][what]:,} longer than {max_tokens:,}"
            print(
                f"  {what:<9}  {tokens['min']:,} / {tokens['median']:,} / {tokens['max']:,} "
                f"tokens (min / median / max){over}"
            )
        for sample in self.samples:
            print(f"  {sample}")

    def _count(self, record: "Record", processor: "E2LLMProcessor") -> None:
        from e2llm.training.data import QuestionRecord

        document = record.context if isinstance(record, QuestionRecord) else record.text
        if hash(document) not in self.documents:
            self.documents[hash(document)] = len(processor.text_ids(document))
        if isinstance(record, QuestionRecord):
            self.questions.append(len(processor.text_ids(record.question)))
            self.answers += [len(processor.text_ids(answer)) for answer in record.answers]


def _spread(tokens: list[int]) -> dict[str, int]:
    return {"min": min(tokens), "median": statistics.median_low(tokens), "max": max(tokens)}


def _sample(record: "Record") -> str:
    from e2llm.training.data import QuestionRecord

    if isinstance(record, QuestionRecord):
        return (
            f"{record.id}: {_shorten(record.question)} -> {_shorten(record.answers[0])} | "
            f"{_shorten(record.context)}"
        )
    return f"{record.id}: {_shorten(record.text)}"


def _shorten(text: str) -> str:
    return textwrap.shorten(text[: 4 * _SAMPLE_CHARS], _SAMPLE_CHARS, placeholder=" ...")
