"""Questions to documents that were read: one, or as many as are typed."""

import io
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from e2llm.cli.documents import describe
from e2llm.cli.terminal import say
from e2llm.errors import UserError

if TYPE_CHECKING:
    from e2llm import E2LLM, Answer, CompressedDocument

# Of more documents than these it is said what they became together.
MOST_LINES = 20


@dataclass
class Conversation:
    """Documents that were read, and how they are asked.

    Attributes:
        pair: The pair that read them.
        documents: What is asked.
        compress_s: Seconds that each took to read; 0 where it was read before.
        asking: How they are asked: the further arguments of `E2LLM.ask`.
        show_plan: Whether each answer's plan is printed.
        failures: Files that could not be read, each with the reason.
        said: Notices that were given already.
        turns: Questions before, with their answers.
    """

    pair: "E2LLM"
    documents: list["CompressedDocument"]
    compress_s: list[float]
    asking: dict[str, Any]
    show_plan: bool = False
    failures: list[tuple[str, str]] = field(default_factory=list)
    said: set[str] = field(default_factory=set)
    turns: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        read = zip(self.documents, self.compress_s, strict=True)
        # What the documents became, which the first summary tells.
        self._lines = [describe(document, seconds) for document, seconds in read]
        if len(self._lines) > MOST_LINES:
            n_tokens = sum(document.n_tokens for document in self.documents)
            n_soft = sum(document.n_soft for document in self.documents)
            self._lines = [
                f"{len(self.documents):,} documents: {n_tokens:,} tokens of text, {n_soft:,} soft "
                f"tokens, in {sum(self.compress_s):.1f} s"
            ]

    def hold(self, question: str | None, as_json: bool) -> None:
        """Answer a question, or without one what is typed."""
        if question is None:
            self.go_on()
        elif as_json:
            self.print_json(question)
        else:
            self.answer(question)

    def answer(self, question: str) -> "Answer":
        """Print an answer as it comes, then what it cost and rests on, and return it."""
        stream = self.pair.stream(question, self.documents, turns=self.turns, **self.asking)
        started = False
        for piece in stream:
            # White space before the first word of an answer is not shown.
            piece = piece if started else piece.lstrip()
            started = started or bool(piece)
            print(piece, end="", flush=True)
        print()
        answer = stream.answer
        notices = tuple(notice for notice in answer.notices if notice not in self.said)
        if self.show_plan:
            say(str(answer.plan))
        _sum_up(self._lines, replace(answer, notices=notices))
        self._lines = []
        # What is said of an answer, and not of the documents, is said of each.
        last = answer.finish_reason == "length" or answer.found is False
        self.said.update(notices[:-1] if last else notices)
        return answer

    def print_json(self, question: str) -> None:
        """Print an answer, what it cost and what it rests on as one JSON object."""
        answer = self.pair.ask(question, self.documents, **self.asking)
        facts = _facts(answer, self.documents, self.compress_s)
        facts["failures"] = [{"name": name, "error": reason} for name, reason in self.failures]
        print(json.dumps(facts, ensure_ascii=False))

    def go_on(self) -> None:
        """Answer what is typed, again and again; a question that fails ends nothing."""
        for question in _questions():
            try:
                answer = self.answer(question)
            except UserError as error:
                say(f"e2llm: {error}")
                continue
            if self.asking["expand"] is None:  # else each question stands alone
                self.turns.append((question, answer.text))


def clean(typed: str) -> str:
    """Replace bytes that were no UTF-8: Python hands them on as what no tokenizer takes."""
    return typed.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _sum_up(lines: list[str], answer: "Answer") -> None:
    places: list[str] = []
    last = None
    for chunk in answer.expanded:
        page = f" ({chunk.unit} {chunk.page})" if chunk.page else ""
        # Neighbours on one page are one place.
        if last and (last.document, last.end, last.page) == (
            chunk.document,
            chunk.start,
            chunk.page,
        ):
            start = places.pop().removesuffix(page).rpartition("-")[0]
            places.append(f"{start}-{chunk.end}{page}")
        else:
            places.append(f"{chunk.document} {chunk.start}-{chunk.end}{page}")
        last = chunk
    usage = answer.usage
    parts = [
        *lines,
        f"first token after {usage.first_token_s:.2f} s",
        f"{usage.positions:,} decoder positions",
        "expanded " + (", ".join(places) or "nothing"),
    ]
    say("[" + "; ".join(parts) + "]")
    for notice in answer.notices:
        say(f"Note: {notice}")


def _facts(
    answer: "Answer", documents: list["CompressedDocument"], compress_s: list[float]
) -> dict:
    return {
        "answer": answer.text,
        "finish_reason": answer.finish_reason,
        "found": answer.found,
        "expanded": [asdict(chunk) for chunk in answer.expanded],
        "usage": asdict(answer.usage),
        "plan": [] if answer.plan is None else [row._asdict() for row in answer.plan.chunks],
        "documents": [
            {
                "name": document.name,
                "n_tokens": document.n_tokens,
                "n_soft": document.n_soft,
                "ratio": document.ratio_got,
                "ratio_asked": document.ratio,
                "compress_s": seconds,
            }
            for document, seconds in zip(documents, compress_s, strict=True)
        ],
        "notices": list(answer.notices),
    }


def _questions() -> Iterator[str]:
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    # Where only one of the two is a terminal, a prompt would be part of the answers.
    at_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if sys.stdin.isatty():
        with suppress(ImportError):  # Windows has none
            import readline  # noqa: F401 - gives input() a history and editing
        say("Ask; an empty line ends.")
    while True:
        try:
            typed = input("> " if at_terminal else "")
        except EOFError:
            return
        if not typed.strip():
            return
        yield typed
