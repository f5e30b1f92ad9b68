"""TriviaQA: trivia with web pages as evidence (Joshi et al. 2017)."""

from typing import ClassVar

from e2llm.benchmarks.base import QuestionBenchmark


class TriviaQA(QuestionBenchmark):
    """Answer in a few words."""

    name: ClassVar[str] = "triviaqa"
    metrics: ClassVar[tuple[str, ...]] = ("f1", "exact_match")
    perplexity: ClassVar[bool] = True
    datasets: ClassVar[tuple[str, ...]] = ("triviaqa",)
