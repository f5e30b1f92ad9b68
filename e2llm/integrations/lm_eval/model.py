"""The model `e2llm` of the harness: a pair that compresses the document of each request."""

import logging
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import torch
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import normalize_gen_kwargs, postprocess_generated_text
from tqdm import tqdm

from e2llm.checks import check_count, check_ratio
from e2llm.engines import Generation, Sampling
from e2llm.integrations.lm_eval.requests import RequestReader
from e2llm.methods.base import Prompt
from e2llm.model.modeling import evaluating
from e2llm.pair import E2LLM

logger = logging.getLogger(__name__)


@register_model("e2llm")
class CompressingLM(LM):
    """A pair as the harness sees it.

    Args:
        pretrained: A folder, a hub name, or a shipped pair.
        ratio: Text tokens per soft token, or "chunk"; None for the pair's own, or the next that
            fits.
        expand: Chunks that are expanded to text, ranked by the tail; 0 is the paper, None the
            pair's own.
        tail_chars: Least characters at the end of a request that stay text.
        least_chars: Shortest document that is compressed.
        dtype, device, trust_remote_code: As in `E2LLM.from_pretrained`.
        tokenizer: The harness gives it to RULER's tasks, which make texts of so many tokens; the
            pair reads with its own.
        batch_size, max_batch_size: The harness gives them; requests run one by one, so that none
            depends on its neighbours.

    Example:
        >>> lm_eval.simple_evaluate(
        ...     "e2llm", "pretrained=smol,ratio=8", tasks=["ruler_vt"]
        ... )  # doctest: +SKIP
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
        tail_chars = check_count("tail_chars", tail_chars, 1, "character")
        least_chars = check_count("least_chars", least_chars, 1, "character")
        ratio = None if ratio is None else check_ratio(ratio)
        options: dict[str, Any] = {"trust_remote_code": True} if trust_remote_code else {}
        self.pair = E2LLM.from_pretrained(pretrained, dtype=dtype, device=device, **options)
        own = self.pair.config.expand
        expand = own if expand is None else check_count("expand", expand, 0, "chunks")
        self.reader = RequestReader(self.pair, ratio, expand, tail_chars, least_chars, self._tell)
        self.tokenizer = self.pair.processor.tokenizer
        self._device = self.pair.base.device
        self._told: set[str] = set()
        if batch_size not in (1, "1", "auto"):
            self._tell(f"batch_size={batch_size} changes nothing: requests run one by one.")

    def loglikelihood(
        self, requests: list[Any], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Return the log-likelihood of each request's continuation.

        The other value is whether the decoder would have written it.
        """
        results = []
        for request in tqdm(requests, disable=disable_tqdm, desc="loglikelihood"):
            context, continuation = request.args
            prompt, ids = self.reader.read(context, request.doc, continuation=continuation)
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
            pieces = self.reader.pieces(request.args[0])
            results.append(sum(self._score(prompt, ids)[0] for prompt, ids in pieces))
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, results[-1])
        return results

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Return what the decoder writes after each request, up to the first of its stop texts."""
        results = []
        for request in tqdm(requests, disable=disable_tqdm, desc="generate_until"):
            context, settings = request.args
            sampling, stops = self._sampling(settings)
            prompt, _ = self.reader.read(context, request.doc, sampling.max_new_tokens)
            text = ""
            stream: Any = self.pair.engine.stream(self._embed(prompt), sampling, Generation())
            with evaluating(self.pair.base), closing(stream):
                for piece in stream:
                    text += piece
                    if any(stop in text for stop in stops):
                        break
            # A piece may go on beyond the stop text, which is cut off here.
            results.append(postprocess_generated_text(text, stops, None))
            self.cache_hook.add_partial("generate_until", request.args, results[-1])
        return results

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Return a conversation as one text, with the decoder's chat markers."""
        return self.reader.conversation(chat_history, add_generation_prompt)

    def chat_template(self, chat_template: bool | str = False) -> str:
        """Return the decoder's chat template."""
        return self.pair.processor.chat_template or ""

    @property
    def tokenizer_name(self) -> str:
        """What the harness keeps its prepared requests under."""
        return f"{self.pair.name}--{self.pair.config.decoder_name}".replace("/", "__")

    @torch.inference_mode()
    def _score(self, prompt: Prompt, ids: list[int]) -> tuple[float, bool]:
        # The last token is scored and never read.
        embeddings = self._embed(Prompt(prompt.ids + ids[:-1], prompt.soft_tokens))  # (seq, d_dec)
        with evaluating(self.pair.base):
            output = self.pair.base.decoder(
                inputs_embeds=embeddings[None], use_cache=False, logits_to_keep=len(ids)
            )
        logits = output.logits[0].float()  # (n_ids, vocab)
        wanted = torch.tensor(ids, device=logits.device)  # (n_ids,)
        total = logits.log_softmax(-1).gather(1, wanted[:, None]).sum()  # ()
        return float(total), bool((logits.argmax(-1) == wanted).all())

    @torch.inference_mode()
    def _embed(self, prompt: Prompt) -> torch.Tensor:
        """Return a prompt's input embeddings, (seq, d_dec)."""
        ids = torch.tensor([prompt.ids], device=self.pair.base.decoder.device)  # (1, seq)
        soft_tokens = None if prompt.soft_tokens is None else prompt.soft_tokens[None]
        return self.pair.base.embed(ids, soft_tokens)[0]

    def _sampling(self, settings: Mapping[str, Any]) -> tuple[Sampling, list[str]]:
        """Return how to write, and the texts to stop at."""
        given = normalize_gen_kwargs(dict(settings), Sampling().max_new_tokens)
        stops = [stop for stop in given.pop("until") or [] if stop]
        # Where the task does not sample, its temperature counts as 0, which is greedy.
        temperature = float(given.pop("temperature", 0.0)) * bool(given.pop("do_sample"))
        n_tokens = int(given.pop("max_gen_toks"))
        options: dict[str, Any] = {"max_new_tokens": n_tokens, "temperature": temperature}
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
