"""GovReport: summaries of long reports of the United States' government (Huang et al. 2021)."""

from typing import ClassVar

from e2llm.benchmarks.base import QuestionBenchmark


class GovReport(QuestionBenchmark):
    """Summarise a report."""

    name: ClassVar[str] = "govreport"
    metrics: ClassVar[tuple[str, ...]] = ("rouge",)
    perplexity: ClassVar[bool] = True
    max_new_tokens: ClassVar[int] = 512
    datasets: ClassVar[tuple[str, ...]] = ("govreport",)
    n_quick: ClassVar[int] = 2
    documents_quick: ClassVar[int] = 2
