"""What the decoder reads of a request: soft tokens where its document stands, the rest as text.

A request is one text. Of it, the document is the longest field of the task's own record that stands
in it word for word, white space at its ends apart (`context`, `passage`, `article`, ... as the task
calls it), or the whole text where no field of at least `least_chars` characters does. The last
`tail_chars` characters, from the start of a line, are never of the document: where a task has but
one field for document and question, they hold the question. Soft tokens take the document's place;
what stands around it (instruction, examples, question, chat markers) stays as it is. A request
without a document of at least `least_chars` characters is read as the bare decoder reads it. What
does not fit the decoder's window is tried again with all but the tail compressed, and then at the
next ratio that fits; nothing is ever cut off.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from e2llm.chunking.chunker import make_spans
from e2llm.documents.compressed import CompressedDocument
from e2llm.errors import WindowError
from e2llm.methods.base import NAME, Prompt
from e2llm.pair import E2LLM
from e2llm.reading.prompt import join_neighbours, prompt_parts

Span = tuple[int, int]
# A character that no text holds.
_MARK = "\ufdd0"


@dataclass
class RequestReader:
    """Find the document in a request, and put soft tokens in its place.

    Attributes:
        pair: What compresses.
        ratio, expand, tail_chars, least_chars: As in `CompressingLM`.
        tell: Takes what the user should know, as often as it happens.
    """

    pair: E2LLM
    ratio: float | str | None
    expand: int
    tail_chars: int
    least_chars: int
    tell: Callable[[str], None]

    def __post_init__(self) -> None:
        self.processor = self.pair.processor
        self.tokenizer = self.processor.tokenizer
        self._last: CompressedDocument | None = None

    def read(
        self, context: str, record: Any = None, n_answer: int = 0, continuation: str = ""
    ) -> tuple[Prompt, list[int]]:
        """Return what the decoder reads of a request, and the ids of the continuation.

        Args:
            context: The request's text.
            record: The task's record that it was made of.
            n_answer: Positions to keep free for an answer.
            continuation: Text that is scored after it.

        Raises:
            WindowError: It does not fit the decoder's window at any ratio.
        """
        *others, last = self.spans(context, record)
        for span in others:
            with suppress(WindowError):
                return self._prompt(context, span, n_answer, continuation)
        return self._prompt(context, last, n_answer, continuation)

    def spans(self, context: str, record: Any = None) -> list[Span]:
        """Return where the document stands in a request, best place first; (0, 0) is nowhere."""
        first = self._first(context)
        # From here on stands the tail, which is never of the document.
        last = max(first, _line_start(context, len(context) - self.tail_chars, self.tail_chars))
        whole = (first, last)
        field = _longest_field(context, record)
        start = context.rindex(field)
        own = (start, min(start + len(field), last))
        spans = [(a, b) for a, b in (own, whole) if b - a >= self.least_chars] or [(0, 0)]
        return spans if whole in spans or first == last else [*spans, whole]

    def pieces(self, text: str) -> Iterator[tuple[Prompt, list[int]]]:
        """Yield the pieces of a text as ids, each with what the decoder reads before it.

        A text that fits the decoder's window is one piece; of a longer one, every piece of half a
        window follows the soft tokens of all the text before it.
        """
        window, ids = self.pair.config.decoder_window, self._ids(text)
        if window is None or len(ids) <= window:
            yield Prompt([self._start_id]), ids
            return
        # Half of the window is a piece's, the other half is left for the soft tokens before it.
        starts = self._piece_starts(text, window // 2)
        for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
            ids = self._ids(text[start:end])
            if not start:
                yield Prompt([self._start_id]), ids
                continue
            # The text before grows from piece to piece, so that only what is new is compressed.
            document = self._compress(text[:start], "", len(ids))
            placeholders = [self.processor.placeholder_id] * document.n_soft
            yield Prompt([*self._ids("", begins=True), *placeholders], document.soft_tokens), ids

    def conversation(self, messages: list[dict[str, str]], begin_answer: bool = True) -> str:
        """Return a conversation as one text, with the decoder's chat markers.

        Args:
            messages: Its turns, each with a "role" and a "content".
            begin_answer: Whether the markers of the next answer come after it.
        """
        return self.tokenizer.apply_chat_template(
            messages,
            chat_template=self.processor.chat_template,
            tokenize=False,
            add_generation_prompt=begin_answer,
            continue_final_message=not begin_answer,
            enable_thinking=False,
        )

    def _prompt(
        self, context: str, span: Span, n_answer: int, continuation: str
    ) -> tuple[Prompt, list[int]]:
        start, end = span
        head, text, tail = context[:start], context[start:end], context[end:]
        read, ids = self._pair_ids(tail, continuation, begins=not text)
        n_around = max(1, n_answer + len(ids))
        if not text:
            window = self.pair.config.decoder_window
            # The last token that is scored is not read.
            if window is not None and len(read) + n_around > window + bool(continuation):
                raise WindowError(
                    f"a request needs {len(read) + n_around:,} decoder positions and the "
                    f"decoder's window holds {window:,}."
                )
            return Prompt(read), ids
        before = self._ids(head, begins=True)
        # By its words chunks are ranked; there must be some.
        question = tail.strip() or "?"
        document = self._compress(text, question, n_around + len(before))
        n_room = n_around + len(before)
        plan = self.pair.plan(question, [document], self.expand, max_new_tokens=n_room)
        made = plan.prompt
        passages = join_neighbours([document], [(0, chunk.index) for chunk in made.expanded])
        # Without instruction and question, which the request has of its own.
        _, *shown, _ = prompt_parts("", [(NAME, 0)], passages, soft=False)
        n_soft = 0 if made.soft_tokens is None else len(made.soft_tokens)
        placeholders = [self.processor.placeholder_id] * n_soft
        expanded = self.processor.text_ids("".join(map(str, shown)))
        return Prompt([*before, *placeholders, *expanded, *read], made.soft_tokens), ids

    def _compress(self, text: str, question: str, n_around: int) -> CompressedDocument:
        """Compress a document, once for all the requests about it that follow each other.

        A growing one goes on from where it was.
        """
        ratio = self._ratio(text, question, n_around)
        if self._last is None or self._last.text != text or self._last.ratio != ratio:
            self._last = self.pair.compress(text, NAME, ratio, previous=self._last)
        return self._last

    def _ratio(self, text: str, question: str, n_around: int) -> float | str:
        try:
            return self.pair.fit_ratio(
                [text], question, n_around, self.expand, ratio=self.ratio, names=[NAME]
            )
        except WindowError:
            if self.ratio is None:
                raise
            ratio = self.pair.fit_ratio([text], question, n_around, self.expand, names=[NAME])
            self.tell(
                f"ratio={self.ratio:g} does not fit the decoder's window for every request; "
                f"some are compressed by {ratio} or more."
            )
            return ratio

    def _piece_starts(self, text: str, most_tokens: int) -> list[int]:
        """Return where pieces of whole chunks begin, each of at most so many tokens."""
        spans = make_spans(text, self.pair.chunker)
        counts = self.processor.count_tokens(text, spans).tolist()
        starts, n_tokens = [0], 0
        for (_, end), n_own, n_next in zip(spans, counts, [*counts[1:], 0], strict=True):
            n_tokens += n_own
            # The next chunk would not fit any more: a piece begins with it.
            if n_tokens + n_next > most_tokens and end < len(text):
                starts, n_tokens = [*starts, end], 0
        return starts

    @property
    def _start_id(self) -> int:
        """The token that stands before a text that nothing else stands before."""
        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        return eos if bos is None else bos

    def _ids(self, text: str, begins: bool = False) -> list[int]:
        """Tokenise text of the harness, in which chat markers are what they seem.

        One that begins the prompt gets the tokenizer's own start.
        """
        start = self.tokenizer.bos_token or _MARK
        special = begins and not text.startswith(start)
        return self.tokenizer(text, add_special_tokens=special)["input_ids"]

    def _pair_ids(
        self, context: str, continuation: str, begins: bool
    ) -> tuple[list[int], list[int]]:
        """Tokenise both together; spaces between them are the continuation's, as in the harness."""
        if not continuation:
            return self._ids(context, begins), []
        kept = context.rstrip()
        if not kept and begins:
            first, own = self._start_id, self._ids(context + continuation)
            return ([first], own) if own[0] != first else (own[:1], own[1:])
        # A token may reach over the seam, so that both are tokenised at once.
        n_context = len(self._ids(kept, begins))
        ids = self._ids(context + continuation, begins)
        return ids[:n_context], ids[n_context:]

    def _first(self, context: str) -> int:
        """Return where the user's first words begin.

        They come after the chat markers and a system message, where there are any.
        """
        if not self.processor.chat_template:
            return 0
        user = {"role": "user", "content": _MARK}
        opening = self.conversation([user]).partition(_MARK)[0]
        if context.startswith(opening):
            return len(opening)
        system = {"role": "system", "content": _MARK}
        try:
            before, between, _ = self.conversation([system, user]).split(_MARK)
        except (TemplateError, ValueError):  # it takes no system message, so that there is none
            return 0
        if not context.startswith(before) or between not in context:
            return 0
        return context.index(between) + len(between)


def _longest_field(context: str, record: Any) -> str:
    """Return the longest field of a record that stands in a request, or nothing."""
    values = record.values() if isinstance(record, Mapping) else ()
    texts = [value for value in values if isinstance(value, str)]
    found = (text for value in texts for text in (value, value.strip()) if text in context)
    return max(found, key=len, default="")


def _line_start(text: str, at: int, most: int) -> int:
    """Return where a line begins within `most` characters before `at`, or else a word."""
    at = max(0, at)
    least = max(0, at - most)
    return text.rfind("\n", least, at) + 1 or text.rfind(" ", least, at) + 1 or at
