"""What an asker should know beside the answer, one line for all documents that it holds for."""

import re
from collections.abc import Sequence

from e2llm.documents.compressed import CompressedDocument

# Documents that a line names; of the others it gives the number.
NAMED = 3
_NUMBER = re.compile(r"\d[\d.,]*")


def ratio_notices(documents: Sequence[CompressedDocument], own: float | str) -> list[str]:
    """Say of which documents the ratio that was asked for was not got.

    Args:
        documents: What is asked about.
        own: The pair's ratio, for which nobody asked.
    """
    notes = [
        (document.name, document.ratio_note) for document in documents if document.ratio != own
    ]
    return count_notes([(name, note) for name, note in notes if note], len(documents))


def count_notes(notes: Sequence[tuple[str, str]], n_documents: int) -> list[str]:
    """Merge notes that differ in their numbers alone.

    Args:
        notes: Name of a document, and what is to be said of it.
        n_documents: Documents in all.

    Example:
        >>> count_notes([("a", "got 3."), ("b", "got 4."), ("c", "is blank.")], 9)
        ['2 of 9 documents (a, b), the first: got 3.', 'c: is blank.']
    """
    alike: dict[str, list[tuple[str, str]]] = {}
    for name, note in notes:
        alike.setdefault(_NUMBER.sub("#", note), []).append((name, note))
    lines = []
    for own in alike.values():
        name, note = own[0]
        if n_documents == 1:
            lines.append(note)
        elif len(own) == 1:
            lines.append(f"{name}: {note}")
        else:
            named = ", ".join(name for name, _ in own[:NAMED])
            more = f" and {len(own) - NAMED} more" if len(own) > NAMED else ""
            lines.append(
                f"{len(own)} of {n_documents} documents ({named}{more}), the first: {note}"
            )
    return lines


def cut_notice(n_tokens: int) -> str:
    """Say that an answer ended where its room did."""
    return f"the answer was cut after {n_tokens} tokens (`max_new_tokens`)."
