"""A conversation: a question sees the turns before it, and is ranked with what it follows on.

The first question is planned as if it were alone, and a later one only adds passages that are not
there yet: what the decoder has read stays where it stands, so that its cache serves every turn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from e2llm.checks import check_text
from e2llm.documents.compressed import CompressedDocument
from e2llm.errors import UserError
from e2llm.reading.plan import Plan
from e2llm.reading.prompt import answer_cue, answer_text, join_neighbours, prompt_parts
from e2llm.reading.ranking import RankedChunk
from e2llm.reading.ratio import PLACE_TOKENS
from e2llm.reading.reader import Reader

# Part of the budget that the passages of a later question may take.
LATER_SHARE = 0.5


class Turn(NamedTuple):
    """A question that was asked, and its answer."""

    question: str
    answer: str


def parse_messages(messages: Sequence[Mapping[str, Any]]) -> tuple[list[Turn], str]:
    """Return the turns of a conversation and the question that it ends with.

    Args:
        messages: `{"role": "user" | "assistant", "content": text}` in turn, a user's at the end.

    Raises:
        UserError: They are something else.
    """
    roles = [message.get("role") for message in messages if isinstance(message, Mapping)]
    wanted = ["user" if place % 2 == 0 else "assistant" for place in range(len(messages))]
    if roles != wanted or len(messages) % 2 == 0:
        raise UserError(
            f"`messages` (={roles}) must be of the roles user and assistant in turn, and begin and "
            "end with a user's."
        )
    texts = [check_text("messages", str(message.get("content") or "")) for message in messages]
    turns = [Turn(*pair) for pair in zip(texts[::2], texts[1::2], strict=False)]
    return turns, texts[-1]


@dataclass(frozen=True)
class Conversation:
    """Plan a question that follows on others.

    Attributes:
        reader: Of the pair.
        documents: What is asked about.
    """

    reader: Reader
    documents: Sequence[CompressedDocument]

    def plan(
        self,
        turns: Sequence[Turn],
        question: str,
        expand: int | None,
        budget: int | None,
        whole: bool,
        max_new_tokens: int,
    ) -> Plan:
        """Plan the question; the turns that find no room are left out, the first ones first.

        Args:
            turns: Those before.
            question: The question.
            expand: As in `E2LLM.ask`; where there are turns, None.
            budget, whole: As in `E2LLM.ask`; the budget is that of the first question, of which
                every later one adds at most half.
            max_new_tokens: Room for the answer, in positions.

        Raises:
            UserError, WindowError: As in `E2LLM.ask`.
        """
        if turns and expand is not None:
            raise UserError("`turns` are planned by budget: leave `expand` out.")
        window = self.reader.planner.window
        for n_left_out in range(len(turns) + 1):
            kept = turns[n_left_out:]
            asked = [*(turn.question for turn in kept), question]
            # A first question that does not fit by itself is refused as it is when asked alone.
            plan = self.reader.plan(asked[0], self.documents, expand, budget, whole, max_new_tokens)
            for turn, later in zip(kept, asked[1:], strict=True):
                plan = self._go_on(plan, turn, later)
            if window is None or len(plan.ids) + max_new_tokens <= window:
                break
        if n_left_out:
            notice = (
                f"{n_left_out:,} of {len(turns):,} turns before the question found no room in the "
                f"decoder's window of {window} positions."
            )
            plan = replace(plan, notices=(*plan.notices, notice))
        return plan

    def _go_on(self, plan: Plan, turn: Turn, question: str) -> Plan:
        """Return the plan with the answer to its last question, and a further question after it."""
        processor = self.reader.planner.processor
        cue, (_, end) = answer_cue(processor), processor.turn_ids()
        stop = processor.tokenizer.eos_token_id
        said = [*processor.text_ids(answer_text(processor, turn.answer)), *([stop] if stop else [])]
        added = self._added(plan, turn, question)
        passages = join_neighbours(self.documents, [(own.document, own.chunk) for own in added])
        text = question + cue
        if self.documents:
            _, *parts = prompt_parts(question, [("", 0)], passages, soft=False, cue=cue)
            text = "".join(map(str, parts)).removeprefix("\n")
        ids = [*plan.ids, *said, *processor.later_turn_ids(), *processor.text_ids(text), *end]
        return replace(plan, ids=ids, expanded=(*plan.expanded, *added))

    def _added(self, plan: Plan, turn: Turn, question: str) -> list[RankedChunk]:
        """Return the best chunks for a further question that do not stand as text yet.

        Every other one is the best for the question by itself, and the others for the question
        with the one before it, which it may leave half unsaid.
        """
        if not self.documents:
            return []
        rank = self.reader.rank
        alone = rank(question, self.documents)
        together = rank(f"{turn.question} {question}", self.documents)
        best = dict.fromkeys(
            (own.document, own.chunk) for both in zip(together, alone, strict=True) for own in both
        )
        scores = {(own.document, own.chunk): own.score for own in alone}
        shown = {(own.document, own.chunk) for own in plan.expanded}
        free = int((plan.budget or self.reader.planner.config.budget) * LATER_SHARE)
        added: list[RankedChunk] = []
        for place in best:
            document = self.documents[place[0]]
            # What stands there already counts: a question that follows may need nothing more.
            free -= int(document.n_tokens_per_chunk[place[1]]) + PLACE_TOKENS
            if free < 0:
                break
            if place not in shown:
                added.append(RankedChunk(*place, scores[place]))
        return added
