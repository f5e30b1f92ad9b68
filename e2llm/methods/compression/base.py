"""Base of the trained methods that read a document apart from its question.

Training reads it with gradients, and all else is the same.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from e2llm.methods.base import NAME, Prompt, Reading
from e2llm.methods.fitting.trainable import TrainableMethod, token_nats
from e2llm.reading.prompt import Passage


@dataclass
class TrainedReading(TrainableMethod):
    """Read a document once, with weights that are trained on how likely it makes the answers."""

    @abstractmethod
    def look(self, text: str) -> Any:
        """Return what is kept of a document, with the gradient of how it was read.

        Raises:
            WindowError: The document is too long for this method.
        """

    @property
    def model(self) -> Any:
        """What is trained and run, which holds the `decoder`."""
        return self.module

    @property
    def decoder(self) -> Any:
        """The decoder that answers, without the pair's own LoRA."""
        return self.model.decoder

    def keep(self, text: str) -> Any:
        """Return what is kept of a document for all questions about it."""
        with torch.no_grad():
            return self.look(text)

    def read(self, text: str) -> Reading:
        """Read a document, once."""
        self.model.eval()  # loaded before the clock starts
        return super().read(text)

    def nats(self, document: str, question: str, answer: str) -> Tensor:
        """Return an answer's negative log-likelihoods with gradient, (n_answer_tokens,) float32."""
        return self._answer_nats(self.look(document), question, answer)

    @torch.no_grad()
    def score(self, reading: Reading, question: str, answer: str) -> Tensor:
        """Return the nats of each token of a given answer, (n_answer_tokens,) float32."""
        return self._answer_nats(reading.kept, question, answer).cpu()

    def embed(self, prompt: Prompt) -> Tensor:
        """Return a prompt's input embeddings, (seq, d_dec), with the gradient of soft tokens."""
        ids = torch.tensor(prompt.ids, dtype=torch.long, device=self.decoder.device)  # (seq,)
        soft = ids == self.pair.processor.placeholder_id
        # A placeholder may lie beyond the table; whatever stands there is replaced.
        embeddings = self.decoder.get_input_embeddings()(ids.masked_fill(soft, 0))  # (seq, d_dec)
        if prompt.soft_tokens is None:
            return embeddings
        # (n_soft, d_dec) into the places of the placeholders
        return embeddings.masked_scatter(soft[:, None], prompt.soft_tokens.to(embeddings))

    def logits(self, kept: Any, question: str, ids: list[int]) -> Tensor:
        """Return the logits that say each token of an answer, (n_answer_tokens, vocab)."""
        prompt = self.prompt(kept, question, len(ids))
        embeddings = self.embed(Prompt(prompt.ids + ids, prompt.soft_tokens))  # (seq, d_dec)
        output = self.decoder(
            inputs_embeds=embeddings[None], use_cache=False, logits_to_keep=len(ids) + 1
        )
        return output.logits[0, :-1]  # what the last token says is past the answer

    def _answer_nats(self, kept: Any, question: str, answer: str) -> Tensor:
        ids = self.answer_ids(answer)
        return token_nats(self.logits(kept, question, ids), ids)

    def _split(self, text: str, n_tokens: int) -> tuple[str, list[Passage]]:
        """Cut the last `n_tokens` tokens off a document; they stay text."""
        # Where each token of the decoder begins, in characters.
        starts = [start for start, _ in self.pair.processor._decoder_text.encode(text).offsets]
        start = starts[-n_tokens] if n_tokens < len(starts) else 0
        return text[:start], [Passage(NAME, text[start:], start, len(text), None)] if text else []
