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
from e2llm.reading.document_notices import note_documents
from e2llm.reading.plan import Plan
from e2llm.reading.prompt import answer_cue, answer_text, join_neighbours, prompt_parts
from e2llm.reading.ranking import RankedChunk
from e2llm.reading.ratio import PLACE_TOKENS
from e2llm.reading.reader import Reader, check_question

# Part of the budget that the passages of a later question may take.
LATER_SHARE = 0.5
# Turns that are read at most: each costs a ranking.
MOST_TURNS = 16


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
    texts = [check_text("messages", _text(message.get("content"))) for message in messages]
    turns = [Turn(*pair) for pair in zip(texts[::2], texts[1::2], strict=False)]
    return turns, texts[-1]


def _turn(turn: Any) -> Turn:
    if not isinstance(turn, list | tuple) or len(turn) != 2:
        raise UserError("`turns` must be pairs of a question and its answer.")
    return Turn(*(check_text("turns", text) for text in turn))


def _text(content: Any) -> Any:
    """Return a message's text; the parts of one in parts as one."""
    if not isinstance(content, list):
        return content
    parts = [part.get("text") if isinstance(part, Mapping) else None for part in content]
    if not all(isinstance(part, str) for part in parts):
        raise UserError("`messages`: a message may have parts of text alone.")
    return "\n".join(map(str, parts))


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
        turns: Sequence[tuple[str, str]],
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
        if not turns:
            return self.reader.plan(question, self.documents, expand, budget, whole, max_new_tokens)
        before = [_turn(turn) for turn in turns]
        check_question(question)
        known: dict[str, list[RankedChunk]] = {}
        n_left_out = max(0, len(turns) - MOST_TURNS)
        while (
            plan := self._try(before[n_left_out:], question, budget, whole, max_new_tokens, known)
        ) is None:
            # Fewer and fewer of the last ones.
            n_left_out = len(turns) - (len(turns) - n_left_out) // 2
        processor = self.reader.planner.processor
        # What was said of the first question is not said of this one.
        plan = note_documents(replace(plan, notices=()), processor, question, self.documents)
        if n_left_out:
            notice = (
                f"{n_left_out:,} of {len(turns):,} turns before the question were left out: at "
                f"most {MOST_TURNS} are read, as far as the decoder's window has room."
            )
            plan = replace(plan, notices=(*plan.notices, notice))
        return plan

    def _try(
        self,
        turns: Sequence[Turn],
        question: str,
        budget: int | None,
        whole: bool,
        max_new_tokens: int,
        known: dict[str, list[RankedChunk]],
    ) -> Plan | None:
        """Return the plan with these turns; None where they find no room."""
        window = self.reader.planner.window
        asked = [*(turn.question for turn in turns), question]
        try:
            plan = self.reader.plan(asked[0], self.documents, None, budget, whole, max_new_tokens)
        except UserError:  # of the question itself it is said
            if not turns:
                raise
            return None
        for turn, later in zip(turns, asked[1:], strict=True):
            plan = self._go_on(plan, turn, later, known)
        if turns and window is not None and len(plan.ids) + max_new_tokens > window:
            return None
        return plan

    def _rank(self, question: str, known: dict[str, list[RankedChunk]]) -> list[RankedChunk]:
        if question not in known:
            known[question] = self.reader.rank(question, self.documents)
        return known[question]

    def _go_on(
        self, plan: Plan, turn: Turn, question: str, known: dict[str, list[RankedChunk]]
    ) -> Plan:
        """Return the plan with the answer to its last question, and a further question after it."""
        processor = self.reader.planner.processor
        cue, (_, end) = answer_cue(processor), processor.turn_ids()
        stop = processor.tokenizer.eos_token_id
        said = [
            *processor.text_ids(answer_text(processor, turn.answer)),
            *([] if stop is None else [stop]),
        ]
        added = self._added(plan, turn, question, known)
        passages = join_neighbours(self.documents, [(own.document, own.chunk) for own in added])
        text = question + cue
        if self.documents:
            _, *parts = prompt_parts(question, [("", 0)], passages, soft=False, cue=cue)
            text = "".join(map(str, parts)).removeprefix("\n")
        ids = [*plan.ids, *said, *processor.later_turn_ids(), *processor.text_ids(text), *end]
        # The budget was the first question's.
        return replace(plan, ids=ids, expanded=(*plan.expanded, *added), budget=None)

    def _added(
        self, plan: Plan, turn: Turn, question: str, known: dict[str, list[RankedChunk]]
    ) -> list[RankedChunk]:
        """Return the best chunks for a further question that do not stand as text yet.

        Every other one is the best for the question by itself, and the others for the question
        with the one before it, which it may leave half unsaid.
        """
        if not self.documents:
            return []
        alone = self._rank(question, known)
        together = self._rank(f"{turn.question} {question}", known)
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
