"""Answers that a decoder writes which reads the text, for training to follow.

That is distillation by written answers. The other form, the divergence from the teacher's every
token, is the task `distillation`; this one needs no teacher while training, and any source of
questions, answered or not, becomes one that answers as the decoder would.
"""

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import torch
from transformers import PreTrainedModel

from e2llm.engines import Generation, Sampling
from e2llm.engines.transformers import TransformersEngine
from e2llm.errors import UserError
from e2llm.model import bases
from e2llm.pair import E2LLM
from e2llm.reading.prompt import Passage, answer_cue, prompt_parts
from e2llm.training.data.records import QuestionRecord
from e2llm.training.data.sources import Source

_NAME = "document"


class Teacher:
    """The decoder that a pair names, as it was before training, which reads documents as text.

    Args:
        pair: Whose decoder, tokenizer and prompt it uses.

    Raises:
        E2LLMError: The pair does not name its decoder.
    """

    def __init__(self, pair: E2LLM) -> None:
        bases.check_named(pair.config)
        self.pair = pair
        self._document: str | None = None
        self._engine: TransformersEngine | None = None

    @cached_property
    def decoder(self) -> PreTrainedModel:
        """The decoder without LoRA."""
        return bases.load_untrained_decoder(self.pair.config, self.pair.base.decoder)

    def answer(self, document: str, question: str, max_new_tokens: int) -> str | None:
        """Return the greedy answer to a question; None where the window does not hold the text."""
        processor, window = self.pair.processor, self.pair.config.decoder_window
        passage, cue = Passage(_NAME, document, 0, len(document), None), answer_cue(processor)
        parts = prompt_parts(question, [(_NAME, 0)], [passage], soft=False, cue=cue)
        ids = processor.prompt_ids(parts)
        if window is not None and len(ids) + max_new_tokens > window:
            return None
        if self._engine is None or document != self._document:
            # An engine keeps what it has read of one document for the next question about it.
            self._engine = TransformersEngine(self.decoder, processor.tokenizer)
            self._document = document
        with torch.inference_mode():
            table = self.decoder.get_input_embeddings()
            embeddings = table(torch.tensor(ids, device=self.decoder.device))  # (seq, d_dec)
        pieces = self._engine.stream(embeddings, Sampling(max_new_tokens), Generation())
        return "".join(pieces).strip()


def teach(pair: E2LLM, source: Source, path: Path, max_new_tokens: int) -> Iterator[str]:
    """Add a source's records to a .jsonl file, answered by the pair's teacher.

    Records that the file holds already are kept, and a line that an interruption cut is taken away,
    so that the work goes on where it stopped.

    Args:
        pair: Whose decoder answers.
        source: Records of questions; their own answers are not looked at.
        path: The file.
        max_new_tokens: Longest answer.

    Yields:
        What became of each record: "answered", "kept", or what it was left out for: "too long" for
        the decoder's window, or "no answer".

    Raises:
        UserError: The source holds texts without questions, or the file no records.
        E2LLMError: The pair does not name its decoder.
    """
    done, teacher = _done(path), Teacher(pair)
    with open(path, "a", encoding="utf-8") as file:
        for index in range(len(source)):
            record = source[index]
            if not isinstance(record, QuestionRecord):
                raise UserError(
                    f"`{source.name}` holds texts without questions, and a teacher answers "
                    "questions; name another source."
                )
            if (record.id, record.question) in done:
                yield "kept"
                continue
            answer = teacher.answer(record.context, record.question, max_new_tokens)
            if not answer:
                yield "too long" if answer is None else "no answer"
                continue
            fields = {
                "id": record.id,
                "context": record.context,
                "question": record.question,
                "answers": [answer],
                "source": record.source,
            }
            file.write(json.dumps(fields, ensure_ascii=False) + "\n")
            # At once, so that an interruption loses one answer at most.
            file.flush()
            yield "answered"


def _done(path: Path) -> set[tuple[str, str]]:
    """Return id and question of a file's records, and take away a last line without an end."""
    if not path.exists():
        return set()
    whole, end, _ = path.read_bytes().rpartition(b"\n")
    with open(path, "r+b") as file:
        file.truncate(len(whole) + len(end))
    try:
        records = [json.loads(line) for line in whole.splitlines()]
        return {(record["id"], record["question"]) for record in records}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"`output` (={str(path)!r}) holds something other than answered records; name "
            "another file."
        ) from error
