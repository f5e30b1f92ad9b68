"""Understanding: restate chunks from their soft tokens (paper section 3.2)."""

from functools import cache
from importlib.resources import files
from typing import ClassVar

from e2llm.model.processing import SoftTokens
from e2llm.training.data.records import Record
from e2llm.training.tasks.base import (
    Draw,
    Others,
    Sample,
    Task,
    answer_ids,
    draw_window,
    one_of,
    prepare,
    text_of,
)
from e2llm.training.tasks.conversation import ask

# How often the request is put as people put it, with the prompt of `E2LLM.ask`; else it is wording
# and soft tokens alone, as in the paper.
ASKED = 0.5


class Understanding(Task):
    """Restate 1 to n chunks, as one of more than fifty wordings in one of two prompts asks."""

    name: ClassVar[str] = "understanding"
    kind: ClassVar[str] = "text"

    def make(self, record: Record, draw: Draw, others: Others) -> Sample | None:
        """Return a sample whose answer is the window's text.

        Its prompt is the wording with the soft tokens, or what `E2LLM.ask` makes of the two.
        """
        text, spans = draw_window(text_of(record), draw)
        if not text.strip():
            return None
        name, wording = f"{record.source}/{record.id}", one_of(draw.rng, wordings())
        if draw.rng.random() < ASKED:
            return ask(name, text, spans, [], [(wording, text.strip())], draw, taught=False)
        wording += "\n\n"
        around = len(draw.processor.prompt_ids([wording]))
        compressed = prepare(text, spans, draw, max(1, draw.max_positions - around))
        prompt = draw.processor.prompt_ids([wording, SoftTokens(compressed.n_soft)])
        return Sample(
            name,
            compressed.rows,
            compressed.soft_ids,
            prompt,
            answer_ids(draw.processor, text.strip(), draw),
        )


@cache
def wordings() -> tuple[str, ...]:
    """Return the bank of requests."""
    return tuple((files(__package__) / "wordings.txt").read_text(encoding="utf-8").splitlines())
