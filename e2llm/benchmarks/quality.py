"""QuALITY: multiple choice about long stories (Pang et al. 2022), the right choice written out."""

from typing import ClassVar

from e2llm.benchmarks.base import QuestionBenchmark


class Quality(QuestionBenchmark):
    """Write the right choice; the record's question holds the choices."""

    name: ClassVar[str] = "quality"
    metrics: ClassVar[tuple[str, ...]] = ("f1", "exact_match")
    datasets: ClassVar[tuple[str, ...]] = ("quality",)
