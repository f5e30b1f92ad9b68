"""lm-evaluation-harness: every one of its tasks, with the document part of each request compressed
(`e2llm[lm-eval]`).

The harness (0.4.13) finds models in its own registry alone: it has no plug-ins, and
`--include_path` imports tasks only. So its command line is run by this module, which registers the
model `e2llm` first and takes the same options:

    python -m e2llm.integrations.lm_eval --model e2llm --model_args pretrained=smol,ratio=8,expand=0
    --tasks longbench_hotpotqa --limit 20

RULER's tasks make their texts with a tokenizer that they load by name: of `pretrained` where that
is a folder that `E2LLM.save` wrote; else name such a folder with `--metadata '{"tokenizer":
"FOLDER", "max_seq_lengths": [4096]}'`.

In Python `import e2llm.integrations.lm_eval` is enough before
`lm_eval.simple_evaluate(model="e2llm", ...)`.

A request is one text. Of it, the document is the longest field of the task's own record that stands
in it word for word, white space at its ends apart (`context`, `passage`, `article`, ... as the task
calls it), or the whole text where no field of at least `least_chars` characters does. The last
`tail_chars` characters, from the start of a line, are never of the document: where a task has but
one field for document and question, they hold the question. Soft tokens take the document's place;
what stands around it (instruction, examples, question, chat markers) stays as it is. A request
without a document of at least `least_chars` characters is read as the bare decoder reads it. What
does not fit the decoder's window is tried again with all but the tail compressed, and then at the
next ratio that fits; nothing is ever cut off.

Which groups of tasks were checked stands in `docs/guides/evaluate.md`.
"""

import importlib.util
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from types import ModuleType
from typing import Any

import torch
from jinja2 import TemplateError

from e2llm.checks import check_count, check_ratio
from e2llm.chunking.chunker import make_spans
from e2llm.documents.compressed import CompressedDocument
from e2llm.engines import Generation, Sampling
from e2llm.errors import E2LLMError, MissingPackageError, WindowError
from e2llm.evaluation.metrics import normalise
from e2llm.methods.base import NAME, Prompt
from e2llm.model.modeling import evaluating
from e2llm.pair import E2LLM
from e2llm.reading.prompt import join_neighbours, prompt_parts

try:
    from lm_eval.__main__ import cli_evaluate
    from lm_eval.api.model import LM
    from lm_eval.api.registry import register_model
    from lm_eval.models.utils import normalize_gen_kwargs, postprocess_generated_text
    from tqdm import tqdm
except ImportError as error:
    raise MissingPackageError(
        "the harness needs the package lm-eval: pip install 'e2llm[lm-eval]'."
    ) from error

logger = logging.getLogger(__name__)

Span = tuple[int, int]
_MARK = "\ufdd0"


@register_model("e2llm")
class CompressingLM(LM):
    """A pair as the harness sees it.

    Args:
        pretrained: A folder, a hub name, or a shipped pair.
        ratio: Text tokens per soft token, or "chunk"; None for the pair's own, or the next that
            fits.
        expand: Chunks put back as text, ranked by the tail; 0 is the paper, None the pair's own.
        tail_chars: Least characters at the end of a request that stay text.
        least_chars: Shortest document that is compressed.
        dtype, device, trust_remote_code: As in `E2LLM.from_pretrained`.
        tokenizer: The harness gives it to RULER's tasks, which make texts of so many tokens; the
            pair reads with its own.
        batch_size, max_batch_size: The harness gives them; requests run one by one, so that none
            depends on its neighbours.

    Example:
        >>> lm_eval.simple_evaluate("e2llm", "pretrained=smol,ratio=8", tasks=["ruler_vt"])  # doctest: +SKIP
    """

    def __init__(
        self,
        pretrained: str = "smol",
        ratio: float | str | None = None,
        expand: int | None = None,
        tail_chars: int = 400,
        least_chars: int = 2_000,
        dtype: str | None = None,
        device: str | None = None,
        trust_remote_code: bool = False,
        tokenizer: str | None = None,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        self.tail_chars = check_count("tail_chars", tail_chars, 1, "character")
        self.least_chars = check_count("least_chars", least_chars, 1, "character")
        self.ratio = None if ratio is None else check_ratio(ratio)
        options: dict[str, Any] = {"trust_remote_code": True} if trust_remote_code else {}
        self.pair = E2LLM.from_pretrained(pretrained, dtype=dtype, device=device, **options)
        self.expand = (
            self.pair.config.expand
            if expand is None
            else check_count("expand", expand, 0, "chunks")
        )
        self.tokenizer = self.pair.processor.tokenizer
        self._device = self.pair.base.device
        self._last: CompressedDocument | None = None
        self._told: set[str] = set()
        if batch_size not in (1, "1", "auto"):
            self._tell(f"batch_size={batch_size} changes nothing: requests run one by one.")

    def loglikelihood(
        self, requests: list[Any], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Return the log-likelihood of each request's continuation, and whether the decoder would
        have written it.
        """
        results = []
        for request in tqdm(requests, disable=disable_tqdm, desc="loglikelihood"):
            context, continuation = request.args
            prompt, ids = self.read(context, request.doc, continuation=continuation)
            results.append(self._score(prompt, ids))
            self.cache_hook.add_partial("loglikelihood", request.args, results[-1])
        return results

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Return the log-likelihood of each whole text.

        One that fits the decoder's window is read as the bare decoder reads it; of a longer one,
        every piece of half a window follows the soft tokens of all the text before it.
        """
        results = []
        for request in tqdm(requests, disable=disable_tqdm, desc="loglikelihood_rolling"):
            results.append(
                sum(self._score(prompt, ids)[0] for prompt, ids in self._rolling(request.args[0]))
            )
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, results[-1])
        return results

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Return what the decoder writes after each request, up to the first of its stop texts."""
        results = []
        for request in tqdm(requests, disable=disable_tqdm, desc="generate_until"):
            context, settings = request.args
            sampling, stops = self._sampling(settings)
            prompt, _ = self.read(context, request.doc, sampling.max_new_tokens)
            text = ""
            stream: Any = self.pair.engine.stream(self._embed(prompt), sampling, Generation())
            with evaluating(self.pair.base), closing(stream):
                for piece in stream:
                    text += piece
                    if any(stop in text for stop in stops):
                        break
            results.append(postprocess_generated_text(text, stops, None))
            self.cache_hook.add_partial("generate_until", request.args, results[-1])
        return results

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Return a conversation as one text, with the decoder's chat markers."""
        return self.tokenizer.apply_chat_template(
            chat_history,
            chat_template=self.pair.processor.chat_template,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
            enable_thinking=False,
        )

    def chat_template(self, chat_template: bool | str = False) -> str:
        """Return the decoder's chat template."""
        return self.pair.processor.chat_template or ""

    @property
    def tokenizer_name(self) -> str:
        """What the harness keeps its prepared requests under."""
        return f"{self.pair.name}--{self.pair.config.decoder_name}".replace("/", "__")

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
        spans = self.spans(context, record)
        for span in spans:
            try:
                return self._prompt(context, span, n_answer, continuation)
            except WindowError:
                if span == spans[-1]:
                    raise
        raise AssertionError("there is always a span")

    def spans(self, context: str, record: Any = None) -> list[Span]:
        """Return where the document stands in a request, the best place first; (0, 0) is nowhere."""
        first = self._first(context)
        last = max(first, _line_start(context, len(context) - self.tail_chars, self.tail_chars))
        whole = (first, last)
        values = record.values() if isinstance(record, Mapping) else ()
        fields = (
            field
            for value in values
            if isinstance(value, str)
            for field in (value, value.strip())
            if field in context
        )
        field = max(fields, key=len, default="")
        start = context.rindex(field)
        own = (start, min(start + len(field), last))
        spans = [(a, b) for a, b in (own, whole) if b - a >= self.least_chars] or [(0, 0)]
        return spans if whole in spans or first == last else [*spans, whole]

    def _prompt(
        self, context: str, span: Span, n_answer: int, continuation: str
    ) -> tuple[Prompt, list[int]]:
        head, text, tail = context[: span[0]], context[span[0] : span[1]], context[span[1] :]
        read, ids = self._pair_ids(tail, continuation, begins=not text)
        n_around = max(1, n_answer + len(ids))
        if not text:
            window = self.pair.config.decoder_window
            if window is not None and len(read) + n_around > window + bool(
                continuation
            ):  # the last token scored is not read
                raise WindowError(
                    f"a request needs {len(read) + n_around:,} decoder positions and the "
                    f"decoder's window holds {window:,}."
                )
            return Prompt(read), ids
        before = self._ids(head, begins=True)
        question = tail.strip() or "?"
        document = self._compress(text, question, n_around + len(before))
        made = self.pair.make_prompt(question, [document], self.expand, n_around + len(before))
        passages = join_neighbours([document], [(0, chunk.index) for chunk in made.expanded])
        _, *shown, _ = prompt_parts("", [(NAME, 0)], passages, soft=False)
        placeholders = (
            []
            if made.soft_tokens is None
            else [self.pair.processor.placeholder_id] * len(made.soft_tokens)
        )
        return Prompt(
            [
                *before,
                *placeholders,
                *self.pair.processor.text_ids("".join(map(str, shown))),
                *read,
            ],
            made.soft_tokens,
        ), ids

    def _compress(self, text: str, question: str, n_around: int) -> CompressedDocument:
        """Compress a document, once for all the requests about it that follow each other; a growing
        one goes on from where it was.
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
            self._tell(
                f"ratio={self.ratio:g} does not fit the decoder's window for every request; "
                f"some are compressed by {ratio} or more."
            )
            return ratio

    def _rolling(self, text: str) -> Iterator[tuple[Prompt, list[int]]]:
        """Yield the pieces of a text as ids, each with what the decoder reads before it."""
        first = (
            self.tokenizer.eos_token_id
            if self.tokenizer.bos_token_id is None
            else self.tokenizer.bos_token_id
        )
        window, ids = self.pair.config.decoder_window, self._ids(text)
        if window is None or len(ids) <= window:
            yield Prompt([first]), ids
            return
        spans = make_spans(text, self.pair.chunker)
        counts = self.pair.processor.count_tokens(text, spans).tolist()
        starts, n_tokens = [0], 0
        for (_, end), n_own, n_next in zip(spans, counts, [*counts[1:], 0], strict=True):
            n_tokens += n_own
            if n_tokens + n_next > window // 2 and end < len(text):
                starts, n_tokens = [*starts, end], 0
        for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
            ids = self._ids(text[start:end])
            if not start:
                yield Prompt([first]), ids
                continue
            document = self._compress(text[:start], "", len(ids))
            placeholders = [self.pair.processor.placeholder_id] * document.n_soft
            yield Prompt([*self._ids("", begins=True), *placeholders], document.soft_tokens), ids

    @torch.inference_mode()
    def _score(self, prompt: Prompt, ids: list[int]) -> tuple[float, bool]:
        embeddings = self._embed(Prompt(prompt.ids + ids[:-1], prompt.soft_tokens))
        with evaluating(self.pair.base):
            logits = (
                self.pair.base.decoder(
                    inputs_embeds=embeddings[None], use_cache=False, logits_to_keep=len(ids)
                )
                .logits[0]
                .float()
            )
        wanted = torch.tensor(ids, device=logits.device)
        total = logits.log_softmax(-1).gather(1, wanted[:, None]).sum()
        return float(total), bool((logits.argmax(-1) == wanted).all())

    @torch.inference_mode()
    def _embed(self, prompt: Prompt) -> torch.Tensor:
        ids = torch.tensor([prompt.ids], device=self.pair.base.decoder.device)
        return self.pair.base.embed(
            ids, None if prompt.soft_tokens is None else prompt.soft_tokens[None]
        )[0]

    def _ids(self, text: str, begins: bool = False) -> list[int]:
        """Tokenise text of the harness, in which chat markers are what they seem; one that begins
        the prompt gets the tokenizer's own start.
        """
        start = self.tokenizer.bos_token or _MARK
        return self.tokenizer(text, add_special_tokens=begins and not text.startswith(start))[
            "input_ids"
        ]

    def _pair_ids(
        self, context: str, continuation: str, begins: bool
    ) -> tuple[list[int], list[int]]:
        """Tokenise both together, and take the spaces between them to the continuation, as the
        harness does.
        """
        if not continuation:
            return self._ids(context, begins), []
        kept = context.rstrip()
        if not kept and begins:
            own = self._ids(context + continuation)
            first = (
                self.tokenizer.eos_token_id
                if self.tokenizer.bos_token_id is None
                else self.tokenizer.bos_token_id
            )
            return ([first], own) if own[0] != first else (own[:1], own[1:])
        n_context = len(self._ids(kept, begins))
        ids = self._ids(context + continuation, begins)
        return ids[:n_context], ids[n_context:]

    def _first(self, context: str) -> int:
        """Return where the user's first words begin: after the chat markers and a system message,
        where there are any.
        """
        if not self.pair.processor.chat_template:
            return 0
        user = {"role": "user", "content": _MARK}
        opening = self.apply_chat_template([user]).partition(_MARK)[0]
        if context.startswith(opening):
            return len(opening)
        try:
            before, between, _ = self.apply_chat_template(
                [{"role": "system", "content": _MARK}, user]
            ).split(_MARK)
        except (TemplateError, ValueError):  # it takes no system message, so that there is none
            return 0
        return (
            context.index(between) + len(between)
            if context.startswith(before) and between in context
            else 0
        )

    def _sampling(self, settings: Mapping[str, Any]) -> tuple[Sampling, list[str]]:
        """Return how to write, and the texts to stop at."""
        given = normalize_gen_kwargs(dict(settings), Sampling().max_new_tokens)
        stops = [stop for stop in given.pop("until") or [] if stop]
        temperature = float(given.pop("temperature", 0.0)) * bool(given.pop("do_sample"))
        options: dict[str, Any] = {
            "max_new_tokens": int(given.pop("max_gen_toks")),
            "temperature": temperature,
        }
        for name, value in given.items():
            if name not in Sampling.__dataclass_fields__:
                self._tell(
                    f"the task's generation setting {name}={value!r} is not known here and "
                    "changes nothing."
                )
            elif value is not None and (temperature or name not in ("top_p", "top_k", "min_p")):
                options[name] = value
        return Sampling(**options), stops

    def _tell(self, message: str) -> None:
        """Say something once."""
        if message not in self._told:
            self._told.add(message)
            logger.warning(message)


def _line_start(text: str, at: int, most: int) -> int:
    """Return where a line begins within `most` characters before `at`, or else a word."""
    at = max(0, at)
    least = max(0, at - most)
    return text.rfind("\n", least, at) + 1 or text.rfind(" ", least, at) + 1 or at


def _restore_squad_metrics() -> None:
    """Put back what SCROLLS' tasks import of transformers, which from version 5 on has no SQuAD
    metrics: the normalisation of an answer.
    """
    name = "transformers.data.metrics"
    if name not in sys.modules and importlib.util.find_spec(name) is None:
        sys.modules[name], squad = ModuleType(name), ModuleType(f"{name}.squad_metrics")
        vars(squad)["normalize_answer"] = lambda text: " ".join(normalise(text))
        vars(sys.modules[name])["squad_metrics"] = squad


_restore_squad_metrics()


def main() -> None:
    """Run the harness's command line; our own errors are one line each."""
    try:
        cli_evaluate()
    except E2LLMError as error:
        print(f"e2llm: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
