"""QMSum: query-based summaries of meetings (Zhong et al. 2021)."""

from typing import ClassVar

from e2llm.benchmarks.base import QuestionBenchmark


class QMSum(QuestionBenchmark):
    """Answer a question about a meeting in a few sentences; the buckets are the paper's."""

    name: ClassVar[str] = "qmsum"
    metrics: ClassVar[tuple[str, ...]] = ("rouge",)
    perplexity: ClassVar[bool] = True
    n_quick: ClassVar[int] = 1
    documents_quick: ClassVar[int] = 1
    max_new_tokens: ClassVar[int] = 128
    buckets: ClassVar[tuple[int, ...]] = (6_000, 12_000, 18_000, 24_000)
    datasets: ClassVar[tuple[str, ...]] = ("qmsum",)
