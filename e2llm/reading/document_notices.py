"""What is said of documents: what their files held beside the text, what cannot be read."""

from collections.abc import Sequence
from dataclasses import replace

from e2llm.documents.compressed import MOST_UNKNOWN, CompressedDocument
from e2llm.model import E2LLMProcessor
from e2llm.reading.notices import count_notes
from e2llm.reading.plan import Plan


def note_documents(
    plan: Plan,
    processor: E2LLMProcessor,
    question: str,
    documents: Sequence[CompressedDocument],
) -> Plan:
    """Return the plan with what was noticed of the files, and what the encoder cannot read.

    Args:
        plan: Of the question.
        processor: Of the pair.
        question: The question.
        documents: What it is asked about.
    """
    notices = list(plan.notices)
    share = processor.unknown_share(question)
    if documents and share > MOST_UNKNOWN:
        notices.append(
            f"the encoder does not know {share:.0%} of the letters of the question: chunks are "
            "ranked by their words alone."
        )
    of_files = [(document.name, note) for document in documents for note in document.notices]
    notices += count_notes(of_files, len(documents))
    notes = [note for document in documents if (note := document.unknown_note)]
    if len(notes) > 1:
        notes = [
            f"of {len(notes):,} documents the encoder does not know most letters: their soft "
            "tokens say little, and their chunks are found by their words alone."
        ]
    return replace(plan, notices=(*notices, *notes))
