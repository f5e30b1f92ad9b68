"""LongLLMLingua (Jiang et al. 2023, arXiv 2310.06839): what makes the question likely, as text.

Chunks and tokens are chosen at equal budget by the `llmlingua` package. The package (0.2.2) asks
the network for a tokenizer when it is made, and cannot read the cache of transformers 5
(microsoft/LLMLingua, issue 210). Here it is made around the pair's decoder and tokenizer, and the
decoder speaks to it with the tuples that it knows. Chunks are scored one by one and the budget is
kept within the decoder's window, so the package's own way beyond the window never runs.
"""

import importlib
import importlib.util
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import DynamicCache

from e2llm.chunking.chunker import make_spans
from e2llm.errors import E2LLMError, MissingPackageError
from e2llm.methods.base import NAME, Method, Needs, Prompt, Reading, Result
from e2llm.methods.text.base import CHARS_PER_TOKEN, budget, predict_budget
from e2llm.model.modeling import evaluating
from e2llm.model.operations import decoder_flops
from e2llm.model.versions import cache_argument
from e2llm.pair import E2LLM
from e2llm.reading.prompt import Passage
from e2llm.reading.rendering import raw, render

# The package keeps chunks until they exceed the target by this much (its `context_budget`).
_SLACK = 100
# A question, where it must be predicted; every chunk is scored by it.
_QUESTION_TOKENS = 64


@dataclass
class LongLlmLingua(Method):
    """Read the chunks and tokens that the decoder itself finds informative about the question.

    What the package leaves may exceed the budget by about 100 tokens.

    Attributes:
        ratio, expand: Of the E2LLM whose decoder positions it may use; None the pair's own.
        dynamic_ratio: How much less the chunks ranked first are compressed than the last (the
            authors' README: 0.3 or 0.4).
        iterative_tokens: Tokens that are compressed at a time (200, the package's own).
    """

    ratio: float | str | None = None
    expand: int | None = None
    dynamic_ratio: float = 0.3
    iterative_tokens: int = 200
    role: ClassVar[str] = "equal budget"

    def __post_init__(self) -> None:
        if importlib.util.find_spec("llmlingua") is None:
            raise MissingPackageError(
                "the method longllmlingua needs the package llmlingua: pip install 'e2llm[lingua]'."
            )

    def keep(self, text: str) -> tuple[list[str], int]:
        """Cut the text into E2LLM's chunks, rendered, and count the positions that it would use."""
        spans = make_spans(text, self.chunker)
        chunks = [render(text[start:end]).strip() for start, end in spans]
        n_allowed = budget(self.pair, text, self.ratio, self.expand)
        return [chunk for chunk in chunks if chunk], n_allowed

    def prompt(self, kept: Any, question: str, max_new_tokens: int) -> Prompt:
        """Return what is left of the chunks, the best first, with the question after it.

        Raises:
            WindowError: It does not fit the decoder's window.
            E2LLMError: The package fails on the text.
        """
        chunks, n_allowed = kept
        n_tokens = [len(self.pair.processor.text_ids(text)) for text in [question, *chunks]]
        if self.window is not None:
            # The question, the longest chunk and the package's slack then fit the window too.
            n_allowed = min(n_allowed, self.window - n_tokens[0] - max(n_tokens) - _SLACK)
        # A document that fits the budget is read as it is.
        if sum(n_tokens[1:]) > n_allowed:
            chunks = [self._compressed(chunks, question, max(1, n_allowed))]
        text = "\n\n".join(chunks)
        whole = [Passage(NAME, text, 0, len(text), None)]
        return self.text_prompt(whole, question, max_new_tokens, render=raw)

    def positions(self, n_tokens: int) -> int:
        """Predict E2LLM's positions."""
        return min(n_tokens, predict_budget(self.pair, n_tokens, self.ratio, self.expand))

    def answer(self, reading: Reading, question: str, max_new_tokens: int) -> Result:
        """Answer a question greedily; compressing for it is part of the answer's cost."""
        before = self._scorer.flops
        result = super().answer(reading, question, max_new_tokens)
        return replace(result, flops=result.flops + self._scorer.flops - before)

    def needs(self, n_tokens: int, max_new_tokens: int) -> list[Needs]:
        """Predict as every method does; the decoder also scores every chunk for every question."""
        needs = super().needs(n_tokens, max_new_tokens)
        positions = self.positions(n_tokens)
        if n_tokens <= positions:
            return needs
        # The package holds the logits of all that is left after the chunks are chosen, and two
        # copies.
        vocab = self.decoder.get_output_embeddings().weight.shape[0]
        n_bytes = 3 * positions * vocab * self.decoder.dtype.itemsize
        n_chunks = -(-n_tokens * CHARS_PER_TOKEN // self.pair.config.chunk_chars)
        n_scored = n_tokens + n_chunks * _QUESTION_TOKENS
        flops = decoder_flops(self.decoder, n_scored, -n_scored, n_scored)
        return [*needs, Needs(n_bytes, flops)]

    @cached_property
    def _scorer(self) -> "_Scorer":
        return _Scorer(self.pair)

    @cached_property
    def _compressor(self) -> Any:
        package: Any = importlib.import_module("llmlingua")
        scorer, tokenizer, window = self._scorer, self.pair.processor.tokenizer, self.window

        class Compressor(package.PromptCompressor):
            """The package's compressor around models that are loaded already.

            Its own constructor loads them, and asks the network.
            """

            def __init__(self) -> None:
                self.model, self.tokenizer, self.oai_tokenizer = scorer, tokenizer, tokenizer
                self.device = scorer.pair.base.decoder.device
                self.max_position_embeddings = sys.maxsize if window is None else window
                self.use_llmlingua2 = False
                self.context_idxs: list[list[int]] = []
                self.cache_bos_num, self.prefix_bos_num = 10, 100  # the package's own

        return Compressor()

    def _compressed(self, chunks: list[str], question: str, n_tokens: int) -> str:
        try:
            outcome = self._compressor.compress_prompt(
                chunks,
                question=question,
                target_token=n_tokens,
                iterative_size=self.iterative_tokens,
                # From here on what the authors' README sets for LongLLMLingua.
                condition_in_question="after_condition",
                reorder_context="sort",
                dynamic_context_compression_ratio=self.dynamic_ratio,
                condition_compare=True,
                context_budget=f"+{_SLACK}",
                rank_method="longllmlingua",
                concate_question=False,
            )
        except AssertionError as error:  # its tokens must come back to the same text
            raise E2LLMError(
                "llmlingua cannot compress this text: the decoder's tokenizer does not give "
                "back what it was given."
            ) from error
        return outcome["compressed_prompt"]


class _Scorer:
    """Run the decoder as the package calls it.

    It gives and takes a tuple of keys and values for each layer in the place of a cache.

    Attributes:
        flops: Operations so far.
    """

    def __init__(self, pair: E2LLM) -> None:
        self.pair = pair
        self.flops = 0

    def __call__(
        self, input_ids: Tensor, attention_mask: Tensor, past_key_values: Any, use_cache: bool
    ) -> SimpleNamespace:
        decoder = self.pair.base.decoder
        cache = DynamicCache(config=decoder.config)
        # Each (1, kv_heads, n_before, head_dim)
        for index, (keys, values) in enumerate(past_key_values or []):
            cache.update(keys, values, index)
        n_before, n_new = cache.get_seq_length(), input_ids.shape[1]
        with evaluating(self.pair.base), torch.inference_mode():
            output = decoder(
                input_ids=input_ids,
                attention_mask=attention_mask,
                use_cache=use_cache,
                **{cache_argument(): cache},
            )
        self.flops += decoder_flops(decoder, n_new, n_before, n_new)
        # Each (1, kv_heads, n_before + n_new, head_dim)
        pairs = [(layer.keys, layer.values) for layer in cache.layers]
        return SimpleNamespace(logits=output.logits, past_key_values=pairs)  # (1, n_new, vocab)
