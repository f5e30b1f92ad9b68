"""A sample as a conversation: the prompt of `E2LLM.ask` and its answers.

Half of the samples show their passages as they read, half as they were wrapped, so that a decoder
that learns from them minds neither.
"""

from functools import partial

from e2llm.chunking.chunker import Span
from e2llm.model.processing import E2LLMProcessor
from e2llm.reading.prompt import (
    Passage,
    answer_cue,
    answer_text,
    join_spans,
    later_question,
    prompt_parts,
)
from e2llm.reading.rendering import raw, render
from e2llm.training.tasks.base import Draw, Sample, answer_ids, one_of, prepare

# What a document is called in a prompt.
NAMES = ("document", "report", "notes", "text", "page", "file", "article", "paper")
# How often passages are rendered.
RENDERED = 0.5


def ask(
    name: str,
    text: str,
    spans: list[Span],
    expanded: list[int],
    questions: list[tuple[str, str]],
    draw: Draw,
    taught: bool,
) -> Sample:
    """Return a sample: the prompt of `E2LLM.ask`, its answer, and further questions as turns.

    Args:
        name: What messages call it.
        text, spans: The document and its chunks.
        expanded: Which chunks also stand as text.
        questions: Questions with their answers. Those after the first are left out from where they
            and their answers would take more than `max_answer_tokens` in all.
        draw: Bounds.
        taught: Whether the teacher's prompt is wanted too.
    """
    processor, cue = draw.processor, answer_cue(draw.processor)
    (question, answer), *later = questions
    called = one_of(draw.rng, NAMES)
    passages = [
        Passage(called, text[start:end], start, end, None)
        for start, end in join_spans(spans, expanded)
    ]
    form = partial(prompt_parts, cue=cue, render=render if draw.rng.random() < RENDERED else raw)
    # The document's soft tokens may have what the rest of the prompt leaves.
    around = len(processor.prompt_ids(form(question, [(called, 0)], passages)))
    compressed = prepare(text, spans, draw, max(1, draw.max_positions - around))
    prompt = processor.prompt_ids(form(question, [(called, compressed.n_soft)], passages))
    sample = Sample(
        name,
        compressed.rows,
        compressed.soft_ids,
        prompt,
        written_answer(processor, answer, draw),
    )
    add_turns(sample, later, draw, cue)
    if taught:
        whole = [Passage(called, text, 0, len(text), None)]
        sample.teacher_ids = processor.prompt_ids(form(question, [(called, 0)], whole, soft=False))
    return sample


def add_turns(sample: Sample, later: list[tuple[str, str]], draw: Draw, cue: str) -> None:
    """Add further questions with their answers to a sample, as many as its bound leaves room for.

    All that follows the first prompt shares one bound, `max_answer_tokens`.
    """
    processor = draw.processor
    free = draw.max_answer_tokens - len(sample.answer_ids)
    for asked, answered in later:
        begin, (_, end) = processor.later_turn_ids(), processor.turn_ids()
        turn = (
            [*begin, *processor.text_ids(later_question(asked, cue)), *end],
            written_answer(processor, answered, draw),
        )
        free -= len(turn[0]) + len(turn[1])
        if free < 0:
            break
        sample.turns.append(turn)


def written_answer(processor: E2LLMProcessor, answer: str, draw: Draw) -> list[int]:
    """Return the ids of an answer with its end; of an empty one the end alone."""
    return answer_ids(processor, answer_text(processor, answer) if answer else "", draw)
