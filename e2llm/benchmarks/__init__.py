"""What is measured, one benchmark per file, behind the one interface of `base.Benchmark`.

One from outside takes a line: `BENCHMARKS["mine"] = Mine()`. No torch here.
"""

from e2llm.benchmarks.base import Benchmark
from e2llm.benchmarks.common_words import CommonWords
from e2llm.benchmarks.cost import Cost
from e2llm.benchmarks.frequent_words import FrequentWords
from e2llm.benchmarks.govreport import GovReport
from e2llm.benchmarks.hotpotqa import HotpotQA
from e2llm.benchmarks.narrativeqa import NarrativeQA
from e2llm.benchmarks.needle import Needle
from e2llm.benchmarks.qmsum import QMSum
from e2llm.benchmarks.quality import Quality
from e2llm.benchmarks.reconstruction import Reconstruction
from e2llm.benchmarks.retrieval import RETRIEVAL
from e2llm.benchmarks.ruler_qa import HotpotAmong, SquadAmong
from e2llm.benchmarks.squad import Squad
from e2llm.benchmarks.triviaqa import TriviaQA
from e2llm.benchmarks.variable_tracking import VariableTracking

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        Squad(),
        HotpotQA(),
        NarrativeQA(),
        QMSum(),
        GovReport(),
        Quality(),
        TriviaQA(),
        Needle(),
        *RETRIEVAL,
        VariableTracking(),
        CommonWords(),
        FrequentWords(),
        SquadAmong(),
        HotpotAmong(),
        Reconstruction(),
        Cost(),
    )
}
