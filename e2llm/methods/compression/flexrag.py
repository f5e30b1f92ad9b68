"""FlexRAG (arXiv 2409.15699): sentences at two ratios, those that fit the question finely.

Its selective compression ranks sentences and gives the important ones more soft tokens; here they
are ranked by the pair's own encoder and made by its adapter, so that the split alone differs.
"""

from dataclasses import dataclass
from functools import partial

from e2llm.chunking.chunker import SpanMaker
from e2llm.chunking.semantic import cut_sentences
from e2llm.methods.compression.planned import PlannedReading


@dataclass
class FlexRag(PlannedReading):
    """Read sentences as soft tokens, the best ones at ratio 1 and as many others as fit coarsely.

    What fits the budget as text is read as text.

    Attributes:
        text, fine, fine_ratio, coarse_ratio: As in `PlannedReading`: no text, half of the budget
            at ratio 1, and one soft token per other sentence.
    """

    text: float = 0.0
    fine: float = 0.5
    fine_ratio: float = 1
    coarse_ratio: float | str | None = "chunk"

    @property
    def chunker(self) -> SpanMaker:
        """Cut at sentences, a long one at the pair's own size."""
        return partial(cut_sentences, size=self.pair.chunker.size)
