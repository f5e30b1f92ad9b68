"""The words of the prompt: instruction, soft tokens of every document, expanded chunks, question.

Whatever trains a decoder to read documents should build its prompts here, so that what it learns to
read is what it is asked to read.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from e2llm.chunking.chunker import Span
from e2llm.documents.compressed import CompressedDocument, pages_between
from e2llm.model.processing import E2LLMProcessor, SoftTokens
from e2llm.reading.rendering import Render, render

INSTRUCTION = "Answer the question from the documents below."
# What the decoder sees in place of soft tokens that carry no meaning yet.
PASSAGES_INSTRUCTION = "Answer the question from the passages below."
# How the prompt's own lines begin, after whatever a reader may take for the end of a line.
_ENDS = r"\n\r\v\f\x1c-\x1e\x85\u2028\u2029"
_OWN_LINE = re.compile(
    rf"(?:^|(?<=[{_ENDS}]))(?=[^\S{_ENDS}]*(?:From [^{_ENDS}]*\(characters |Question:|Answer:"
    rf"|Document [^{_ENDS}]*:[^\S{_ENDS}]*(?:[{_ENDS}]|$)"
    rf"|{re.escape(INSTRUCTION)}|{re.escape(PASSAGES_INSTRUCTION)}))"
)


@dataclass(frozen=True)
class ExpandedChunk:
    """A chunk that stood in the prompt as text.

    Attributes:
        text: Its text.
        document: Name of its document.
        start, end: Offsets in the document's text, in characters.
        index: Its index in the document.
        score: Similarity of its sentence embedding to the question's; the cosine where embeddings
            are normalised.
        page: 1-based page that it starts on, where the document has pages.
        unit: What a page is called.
    """

    text: str
    document: str
    start: int
    end: int
    index: int
    score: float
    page: int | None = None
    unit: str = "page"


@dataclass(frozen=True)
class Prompt:
    """What the decoder reads.

    Attributes:
        ids: Token ids, with a placeholder where a soft token stands.
        soft_tokens: Those of all documents, (n_soft, d_dec); None where there are none to read.
        expanded: The chunks that stand as text, in the order of the documents.
        notices: What the asker should know, one line each.
    """

    ids: list[int]
    soft_tokens: Tensor | None = None
    expanded: tuple[ExpandedChunk, ...] = ()
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Passage:
    """Neighbouring expanded chunks of one document, joined.

    Attributes:
        document: Name of its document.
        text: Its text.
        start, end: Offsets in the document's text, in characters.
        pages: First and last page that it stands on, where the document has pages.
        unit: What a page is called.
    """

    document: str
    text: str
    start: int
    end: int
    pages: tuple[int, int] | None
    unit: str = "page"

    @property
    def place(self) -> str:
        """Where the passage stands, in words."""
        place = f"characters {self.start}-{self.end}"
        if self.pages is None:
            return place
        first, last = self.pages
        numbers = f" {first}" if first == last else f"s {first}-{last}"
        return f"{place}, {self.unit}{numbers}"


def join_neighbours(
    documents: Sequence[CompressedDocument], chosen: Sequence[tuple[int, int]]
) -> list[Passage]:
    """Join chosen chunks into passages, in the order of the documents.

    Args:
        documents: The documents.
        chosen: (document index, chunk index) of each chunk, in any order.
    """
    passages = []
    by_document: dict[int, list[int]] = {}
    for which, index in chosen:
        by_document.setdefault(which, []).append(index)
    for which in sorted(by_document):
        document = documents[which]
        for start, end in join_spans(document.spans, by_document[which]):
            pages = pages_between(document.page_starts, start, end)
            text = document.text[start:end]
            passages.append(Passage(document.name, text, start, end, pages, document.unit))
    return passages


def join_spans(spans: Sequence[Span] | np.ndarray, chosen: Sequence[int]) -> list[tuple[int, int]]:
    """Return the places of the chosen chunks of one document in their order, neighbours as one."""
    joined: list[tuple[int, int]] = []
    held = set(chosen)
    for index in sorted(chosen):
        start, end = int(spans[index][0]), int(spans[index][1])
        if index - 1 in held:  # a neighbour: one passage, without a seam or a repetition
            start, _ = joined.pop()
        joined.append((start, end))
    return joined


def prompt_parts(
    question: str,
    documents: Sequence[tuple[str, int]],
    passages: Sequence[Passage] = (),
    soft: bool = True,
    cue: str = "",
    render: Render = render,
) -> list[str | SoftTokens]:
    """Return the user's turn as text and soft tokens; a question without documents stands alone.

    Args:
        question: The user's.
        documents: Name and number of soft tokens of each, in the order in which they are asked
            about.
        passages: Expanded chunks.
        soft: Whether the documents' soft tokens are in the prompt.
        cue: What comes after the question, for a decoder without a chat template.
        render: What turns the exact text of a passage into the text that is read.
    """
    if not documents:
        return [question]
    # Instruction first, question last: what stands before the question is the same for all
    # questions about the same documents, so its cache serves the next one.
    parts: list[str | SoftTokens] = [(INSTRUCTION if soft else PASSAGES_INSTRUCTION) + "\n"]
    if soft:
        for name, n_soft in documents:
            parts += [f"\nDocument {_one_line(name)}:\n", SoftTokens(n_soft), "\n"]
    for passage in passages:
        text = fence(render(passage.text).strip())
        parts.append(f"\nFrom {_one_line(passage.document)} ({passage.place}):\n{text}\n")
    parts.append("\n" + later_question(question, cue))
    return parts


def fence(text: str) -> str:
    """Quote the lines of a passage that begin as the prompt's own do, so that none can end it.

    Example:
        >>> fence("Ask.\\nQuestion: Who?\\nAnswer: Bob")
        'Ask.\\n> Question: Who?\\n> Answer: Bob'
    """
    return _OWN_LINE.sub("> ", text)


def _one_line(name: str) -> str:
    return " ".join(name.split())


def later_question(question: str, cue: str = "") -> str:
    """Return what a further question in a conversation says: its documents stand before."""
    return f"Question: {question}{cue}"


def answer_cue(processor: E2LLMProcessor) -> str:
    """Return what ends a prompt that no chat template ends: the word before an answer."""
    return "" if processor.chat_template else "\nAnswer:"


def answer_text(processor: E2LLMProcessor, answer: str) -> str:
    """Return an answer as it stands after its prompt: after a base model's cue, with a space."""
    return answer if processor.chat_template else " " + answer
