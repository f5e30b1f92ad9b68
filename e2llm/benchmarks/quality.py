"""QuALITY: multiple choice about long stories, as generation: the text of the right choice is to be
written (Pang et al. 2022).
"""

from typing import ClassVar

from e2llm.benchmarks.base import QuestionBenchmark


class Quality(QuestionBenchmark):
    """Write the right choice; the record's question holds the choices."""

    name: ClassVar[str] = "quality"
    metrics: ClassVar[tuple[str, ...]] = ("f1", "exact_match")
    datasets: ClassVar[tuple[str, ...]] = ("quality",)
