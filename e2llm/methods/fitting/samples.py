"""What a rival is fitted on: texts, then questions about documents, drawn by number.

What is drawn is a function of the seed and the sample's number, so that a resumed run draws what
the uninterrupted one does.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from e2llm.errors import UserError
from e2llm.methods.base import AROUND
from e2llm.methods.fitting.settings import FitSettings
from e2llm.methods.fitting.trainable import TrainableMethod
from e2llm.training.data.records import QuestionRecord
from e2llm.training.data.sources import Source
from e2llm.training.deal import stage_seed
from e2llm.training.tasks.base import Draw, one_of, text_of
from e2llm.training.tasks.document import draw_document
from e2llm.training.weighted_sources import SameSource, WeightedSources

# Records that do not fit the method's window are passed over, this many in a row.
_TRIES = 100


class Samples(Dataset[dict[str, Any]]):
    """What is read, by number: texts first, as many as the method asks for, then questions.

    A sample has a "text", or a "document", a "question" and an "answer"; a "name"; and how many
    tokens it has in all (`n_positions`) and to predict (`n_items`).

    Args:
        method: What is fitted.
        sources: Records of questions and of texts.
        settings: How it is fitted.
        n_processes: How many processes share a step.

    Raises:
        UserError: No source has records of a kind that the method is trained on.
    """

    def __init__(
        self,
        method: TrainableMethod,
        sources: Sequence[Source],
        settings: FitSettings,
        n_processes: int = 1,
    ) -> None:
        self.method, self.settings, self.processor = method, settings, method.pair.processor
        per_step = settings.batch_size * n_processes
        self.n_texts = round(method.text_share * settings.steps) * per_step
        self.n_samples = settings.steps * per_step
        questions = [source for source in sources if source.kind == "question"]
        texts = [source for source in sources if source.kind == "text"] or questions
        kinds = {"text": texts, "question": questions}
        wanted = {"text": self.n_texts, "question": self.n_samples - self.n_texts}
        for kind, own in kinds.items():
            if wanted[kind] and not own:
                raise UserError(
                    f"`sources`: {type(method).__name__} is trained on {kind} records, and no "
                    "source has any; add one."
                )
        self.sources = {
            kind: WeightedSources(own, stage_seed(str(settings.seed), kind))
            for kind, own in kinds.items()
            if own
        }

    def __len__(self) -> int:
        return self.n_samples

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        if index < self.n_texts:
            return self._draw("text", index)
        return self._draw("question", index - self.n_texts)

    def questions(self, n: int) -> list[dict[str, Any]]:
        """Return the first `n` questions, whatever is read before them."""
        return [self._draw("question", ordinal) for ordinal in range(n)]

    def _draw(self, kind: str, ordinal: int) -> dict[str, Any]:
        source, place = self.sources[kind].record(ordinal)
        # A generator per sample: what is drawn depends on no sample before.
        rng = np.random.default_rng([self.settings.seed, int(kind == "text"), ordinal])
        make = self._text if kind == "text" else self._question
        for _ in range(_TRIES):
            sample = make(source, place, rng)
            if sample is not None:
                return sample
            place = int(rng.integers(len(source)))
        raise UserError(
            f"`sources`: {_TRIES} records of {source.name!r} in a row are empty or do not fit "
            "the method's window; lower `document_tokens` "
            f"(={self.settings.document_tokens}), or run `e2llm data check` on it."
        )

    def _text(self, source: Source, place: int, rng: np.random.Generator) -> dict[str, Any] | None:
        n_wanted = min(self.settings.document_tokens, (self.method.window or 2**62) - AROUND)
        record, others = source[place], SameSource(source, place, rng)
        ids = self.processor.text_ids(text_of(record))
        # A longer text is read from a place drawn by chance, a shorter one goes on with others.
        first = int(rng.integers(max(1, len(ids) - n_wanted + 1)))
        while len(ids) < n_wanted:
            ids += self.processor.text_ids("\n\n" + text_of(others.next()))
        text = self._decode(ids[first : first + n_wanted])
        # Counted anew, because a text that was cut and decoded may have other tokens.
        n = len(self.processor.text_ids(text))
        if n <= 1:
            return None
        name = f"{record.source}/{record.id}"
        return {"name": name, "text": text, "n_positions": n, "n_items": n}

    def _question(
        self, source: Source, place: int, rng: np.random.Generator
    ) -> dict[str, Any] | None:
        record = source[place]
        assert isinstance(record, QuestionRecord)
        answer = one_of(rng, record.answers)
        n_chunks = int(rng.integers(1, self.settings.chunks + 1))
        draw = Draw(self.processor, rng, "chunk", n_chunks)
        document, _, _ = draw_document(record, answer, draw, SameSource(source, place, rng))
        ids = self.processor.text_ids(document)
        if len(ids) > self.settings.document_tokens:
            ids = ids[: self.settings.document_tokens]
            document = self._decode(ids)
        n_items = len(self.processor.text_ids(answer)) + 1  # its end
        n_positions = len(ids) + len(self.processor.text_ids(record.question)) + n_items
        # Instruction and chat markers take positions too.
        if self.method.window is not None and n_positions + AROUND > self.method.window:
            return None
        return {
            "name": f"{record.source}/{record.id}",
            "document": document,
            "question": record.question,
            "answer": answer,
            "n_positions": n_positions,
            "n_items": n_items,
        }

    def _decode(self, ids: list[int]) -> str:
        text = self.processor.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        # A cut through a character of several tokens leaves a sign for what is missing.
        return text.strip("\ufffd")


def set_aside(
    sources: Sequence[Source], settings: FitSettings
) -> tuple[list[Source], list[Source]]:
    """Set some questions aside to validate on; return what is left to train on, and those."""
    if not settings.validation_samples:
        return list(sources), []
    kept, aside = [], []
    for source in sources:
        if source.kind == "question":
            source, held_out = source.split(seed=settings.seed)
            aside.append(held_out)
        kept.append(source)
    return kept, aside
