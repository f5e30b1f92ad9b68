"""HotpotQA: questions that take two of ten paragraphs to answer (Yang et al. 2018)."""

from typing import ClassVar

from e2llm.benchmarks.base import QuestionBenchmark


class HotpotQA(QuestionBenchmark):
    """Answer in a few words from ten paragraphs, eight of which are distractors.

    RULER scores whether an answer is there.
    """

    name: ClassVar[str] = "hotpotqa"
    metrics: ClassVar[tuple[str, ...]] = ("f1", "exact_match", "match_part")
    perplexity: ClassVar[bool] = True
    n_quick: ClassVar[int] = 1
    documents_quick: ClassVar[int] = 1
    datasets: ClassVar[tuple[str, ...]] = ("hotpotqa", "hotpotqa_sample")
