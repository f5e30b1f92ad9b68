"""Let a decoder that reads the text write the answers that training then follows: distillation by
written answers.

The other form, the divergence from the teacher's every token, is the task `distillation`; this one
needs no teacher while training, and any source of questions, answered or not, becomes one that
answers as the decoder would.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from e2llm.errors import UserError, WindowError
from e2llm.methods.base import Method, Reading
from e2llm.methods.bounds.full_text import BaseFullText
from e2llm.pair import E2LLM
from e2llm.training.data.records import QuestionRecord
from e2llm.training.data.sources import Source


def teach(pair: E2LLM, source: Source, path: Path, max_new_tokens: int) -> Iterator[str]:
    """Add a source's records to a .jsonl file, answered by the pair's decoder as it was before
    training, which reads the document as text.

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
    """
    done = _done(path)
    method: Method = BaseFullText(pair)
    reading: Reading | None = None
    document = None
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
            try:
                if reading is None or document != record.context:
                    reading, document = method.read(record.context), record.context
                answer = method.answer(reading, record.question, max_new_tokens).text
            except WindowError:
                yield "too long"
                continue
            if not answer:
                yield "no answer"
                continue
            fields = {
                "id": record.id,
                "context": record.context,
                "question": record.question,
                "answers": [answer],
                "source": record.source,
            }
            file.write(json.dumps(fields, ensure_ascii=False) + "\n")
            file.flush()
            yield "answered"


def _done(path: Path) -> set[tuple[str, str]]:
    """Return id and question of the records of a file, from which a last line without an end is
    taken.
    """
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
