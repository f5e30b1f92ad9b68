"""What decides the plan of a question, so that it fits the decoder's window or a budget."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from e2llm.documents.compressed import CompressedDocument
from e2llm.errors import UserError, WindowError
from e2llm.model import E2LLMConfig, E2LLMProcessor
from e2llm.reading.notices import ratio_notices
from e2llm.reading.plan import Plan
from e2llm.reading.prompt import (
    PASSAGES_INSTRUCTION,
    answer_cue,
    later_question,
    prompt_parts,
)
from e2llm.reading.ranking import RankedChunk
from e2llm.reading.ratio import too_long

UNTRAINED_SOFT = (
    "this pair is untrained: its soft tokens carry no meaning yet, so an answer from them alone "
    "does not rest on the document."
)
UNTRAINED_LEFT_OUT = (
    "this pair is untrained: its soft tokens are left out of the prompt, and the answer rests on "
    "the expanded chunks alone."
)


class UntrainedWarning(UserWarning):
    """The pair's adapter has not been trained."""


@dataclass(frozen=True)
class Planner:
    """Plan what the decoder of a pair reads.

    Attributes:
        config: Of the pair; its window, and what it does unless asked otherwise.
        processor: Of the pair; it counts tokens and builds prompt ids.
    """

    config: E2LLMConfig
    processor: E2LLMProcessor

    @property
    def window(self) -> int | None:
        """Positions that the decoder reads; None where nothing limits them."""
        return self.config.decoder_window

    def reads_soft(self, expand: int) -> bool:
        """Tell whether soft tokens stand in the prompt: an untrained pair's only without text."""
        return self.config.trained or expand == 0

    def plan(
        self,
        question: str,
        documents: Sequence[CompressedDocument],
        ranked: Sequence[RankedChunk],
        expand: int,
        max_new_tokens: int,
        budget: int | None = None,
    ) -> Plan:
        """Plan a question: soft tokens, and as many of the ranked chunks as fit, `expand` at most.

        Args:
            question: The question.
            documents: What it is asked about.
            ranked: Their chunks, the best first.
            expand: Most chunks that stand as text.
            max_new_tokens: Room for the answer, in positions.
            budget: Decoder positions of the prompt that chunks as text may fill; None for the
                window's.

        Raises:
            WindowError: The prompt and the answer do not fit the decoder's window, without chunks
                as text or with a single one.
        """
        # First everything that is wanted, then what of it fits.
        soft = self.reads_soft(expand)
        notices = ratio_notices(documents, self.config.ratio) if soft else []
        if documents and not self.config.trained:
            notices.insert(0, UNTRAINED_LEFT_OUT if expand else UNTRAINED_SOFT)
        chosen, notes = tuple(ranked[:expand]), tuple(notices)
        wanted = Plan(tuple(documents), soft, chosen, notes, budget=budget)
        rooms = [budget, self.window and self.window - max_new_tokens]
        room = min((room for room in rooms if room is not None), default=None)
        if room is None:
            return self.write(question, wanted)
        plan = self.fit(question, wanted, room)
        positions = len(plan.ids)
        if budget is not None and positions > budget and not plan.expanded:
            raise UserError(
                f"`budget` (={budget}): the prompt takes {positions} decoder positions without a "
                "chunk as text; raise the budget, or compress with a higher ratio."
            )
        if self.window and positions + max_new_tokens > self.window:
            # Where no soft token stands in the prompt, no ratio could make it shorter.
            documents = documents if soft else []
            raise WindowError(
                too_long(
                    self.processor, question, documents, positions, max_new_tokens, self.window
                )
            )
        # An untrained pair's prompt without a chunk would hold nothing of the documents.
        n_wanted, n_left = len(wanted.expanded), len(plan.expanded)
        if n_wanted and not n_left and not soft:
            raise WindowError(
                f"`expand` (={expand}): not one chunk fits the decoder's window of {self.window} "
                "positions; compress with smaller chunks."
            )
        # Nothing is left out in silence.
        if n_left < n_wanted:
            notice = f"{n_wanted - n_left} of {n_wanted} chunks to expand found no room in " + (
                f"the budget of {budget} positions."
                if budget == room
                else f"the decoder's window of {self.window} positions."
            )
            plan = replace(plan, notices=(*plan.notices, notice))
        return plan

    def around(self, question: str) -> int:
        """Count the positions of instruction and question."""
        end = later_question(question, answer_cue(self.processor))
        return len(self.processor.prompt_ids([f"{PASSAGES_INSTRUCTION}\n\n{end}"]))

    def fit(self, question: str, plan: Plan, positions: int, least: int = 0) -> Plan:
        """Return the plan with the most of its best chunks that take at most so many positions.

        Args:
            question: The question.
            plan: The plan with all chunks that are wanted.
            positions: Decoder positions that the prompt may take.
            least: Chunks that stay although they do not fit.
        """
        written = self.write(question, plan)
        # The prompt grows with the chunks: the most of them that fit are found by halving.
        fewest, most = min(least, len(plan.expanded)), len(plan.expanded)
        if len(written.ids) <= positions or fewest == most:
            return written
        written, most = self.write(question, plan.best(fewest)), most - 1
        while fewest < most:
            middle = (fewest + most + 1) // 2
            tried = self.write(question, plan.best(middle))
            if len(tried.ids) <= positions:
                written, fewest = tried, middle
            else:
                most = middle - 1
        return written

    def write(self, question: str, plan: Plan) -> Plan:
        """Return the plan with the ids of its prompt."""
        cue = answer_cue(self.processor)
        parts = prompt_parts(question, plan.named, plan.passages, plan.soft, cue)
        return replace(plan, ids=self.processor.prompt_ids(parts))
