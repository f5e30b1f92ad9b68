"""NarrativeQA: short answers about books and film scripts (Kocisky et al. 2018).

Where only their plot summaries are at hand, it is about these.
"""

from typing import ClassVar

from e2llm.benchmarks.base import QuestionBenchmark


class NarrativeQA(QuestionBenchmark):
    """Answer in a few words; the buckets are the paper's.

    Which texts were read, whole stories or summaries, stands in the group "source".
    """

    name: ClassVar[str] = "narrativeqa"
    metrics: ClassVar[tuple[str, ...]] = ("f1",)
    perplexity: ClassVar[bool] = True
    buckets: ClassVar[tuple[int, ...]] = (24_000, 48_000, 72_000, 96_000)
    n_quick: ClassVar[int] = 1
    documents_quick: ClassVar[int] = 1
    datasets: ClassVar[tuple[str, ...]] = ("narrativeqa", "narrativeqa_summaries")
