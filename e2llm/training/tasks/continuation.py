"""Continuation: go on with a text that is compressed in part (paper section 5).

It is prefix language modelling, the paper's proposal for continued pretraining. Of L chunks, l
stand as soft tokens and the loss is on the text that follows them. The soft tokens stand anywhere:
text may come before them.
"""

from typing import ClassVar

from e2llm.chunking.chunker import make_spans
from e2llm.training.data.records import Record
from e2llm.training.tasks.base import Draw, Others, Sample, Task, prepare, text_of


class Continuation(Task):
    """Go on with a text of which some chunks are compressed."""

    name: ClassVar[str] = "continuation"
    kind: ClassVar[str] = "text"

    def make(self, record: Record, draw: Draw, others: Others) -> Sample | None:
        """Return a sample: text, soft tokens of l chunks, the following text as the answer.

        l is drawn at random.
        """
        processor, rng, text = draw.processor, draw.rng, text_of(record)
        spans = make_spans(text, processor.chunker)
        n_all = min(draw.n_chunks + 1, len(spans))
        if n_all < 2:
            return None
        first = int(rng.integers(0, len(spans) - n_all + 1))
        own = spans[first : first + n_all]
        n_compressed = int(rng.integers(1, n_all))
        n_before = int(rng.integers(0, n_all - n_compressed))
        start, stop = own[n_before][0], own[n_before + n_compressed - 1][1]
        before, after = text[own[0][0] : start], text[stop : own[-1][1]]
        # A text that goes on stands outside of any turn of a chat.
        bos, _ = ([], []) if processor.chat_template else processor.turn_ids()
        read = [*bos, *(processor.text_ids(before, begins=True) if before else [])]
        spans = [(a - start, b - start) for a, b in own[n_before : n_before + n_compressed]]
        compressed = prepare(
            text[start:stop], spans, draw, max(n_compressed, draw.max_positions - len(read))
        )
        prompt = [*read, *[processor.placeholder_id] * compressed.n_soft]
        answer = processor.text_ids(after)[: draw.max_answer_tokens]
        if not answer or not compressed.n_soft:
            return None
        sample = Sample(
            f"{record.source}/{record.id}", compressed.rows, compressed.soft_ids, prompt, answer
        )
        if self.taught:
            sample.teacher_ids = [*bos, *processor.text_ids(before + text[start:stop], begins=True)]
        return sample
