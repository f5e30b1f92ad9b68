"""What training reads: texts, and questions about a document with their answers.

A record comes as a JSON object of one of two forms: `{"id", "text", "source"}`, or
`{"id", "context", "question", "answers", "source"}`, in which `context` may be null and
`context_id` name a document that many questions share. `id` and `source` may be left out; other
fields are ignored.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from e2llm.checks import check_text, name_some
from e2llm.errors import UserError

# Every field that a record is made of, in either form.
FIELDS = ("id", "text", "context", "context_id", "question", "answers", "source")
_WAY_OUT = "mend the record or leave it out"


@dataclass(frozen=True)
class TextRecord:
    """A text to restate or to continue.

    Example:
        >>> TextRecord(id="1", text="A river runs through the town.", source="town").source
        'town'
    """

    id: str
    text: str
    source: str


@dataclass(frozen=True)
class QuestionRecord:
    """A question about a document, and every answer that is right.

    Example:
        >>> QuestionRecord("1", "Ann met Bo.", "Whom did Ann meet?", ("Bo",), "town").answers
        ('Bo',)
    """

    id: str
    context: str
    question: str
    answers: tuple[str, ...]
    source: str


Record = TextRecord | QuestionRecord


def kind_of(fields: Mapping[str, Any]) -> str:
    """Return which form a JSON object has: "question", or else "text"."""
    return "question" if "question" in fields else "text"


def parse(
    fields: Mapping[str, Any],
    where: str,
    place: int,
    source: str,
    document: Callable[[str, str], str] | None = None,
) -> Record:
    """Check a JSON object and return its record.

    Args:
        fields: The object.
        where: What messages call it, such as "`train.jsonl`, line 3".
        place: Its number, the id of a record that has none.
        source: Name of its source, for a record that names none.
        document: Returns the text of a `context_id`, and is told `where`; None where there are no
            shared documents.

    Raises:
        UserError: A field is missing, empty or of the wrong kind.
    """
    name = str(place if fields.get("id") is None else fields["id"])
    source = str(fields.get("source") or source)
    if kind_of(fields) == "text":
        return TextRecord(name, _text(fields, "text", where), source)
    context_id = fields.get("context_id")  # a record that has its context needs no shared one
    if fields.get("context") is None and context_id is not None and document is not None:
        context = document(str(context_id), where)
    else:
        context = _text(fields, "context", where)
    return QuestionRecord(
        name, context, _text(fields, "question", where), _answers(fields, where), source
    )


def _text(fields: Mapping[str, Any], field: str, where: str) -> str:
    if fields.get(field) is None:
        raise UserError(
            f"{where}: `{field}` is missing, and the fields there are "
            f"{name_some(fields, 'the record has them') or 'none'}; {_WAY_OUT}."
        )
    return _filled(fields[field], field, where)


def _answers(fields: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Return every right answer: a list of texts, or a text alone."""
    answers = fields.get("answers")
    if not isinstance(answers, list):
        return (_text(fields, "answers", where),)
    if not answers:
        raise UserError(
            f"{where}: `answers` is empty; give at least one answer, or leave the record out."
        )
    return tuple(_filled(answer, "answers", where) for answer in answers)


def _filled(value: Any, field: str, where: str) -> str:
    try:
        text = check_text(field, value)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    if not text.strip():
        raise UserError(f"{where}: `{field}` is empty or blank; {_WAY_OUT}.")
    return text
