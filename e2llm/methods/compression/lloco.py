"""LLoCO (Tan et al. 2024, arXiv 2404.07979): summary vectors, which a finetuned decoder reads.

The vectors are AutoCompressor's (Chevalier et al. 2023, arXiv 2305.14788, section 3): the decoder,
with LoRA of its own, reads segment after segment, each after the vectors of all segments before it
and with `summary_tokens` learned embeddings at its end; its last states at those are the segment's
vectors. They are stored, and a second LoRA answers from them, in the document's place. The authors
finetune that one on vectors that are already trained; here both are trained together, on texts
first. Not taken over: their retrieval among many documents, and vectors before the whole prompt
(they stand where every method's prompt has the document).
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from e2llm.checks import check_count
from e2llm.methods.base import NAME, Needs, Prompt, Reading, check_window
from e2llm.methods.compression.base import TrainedReading
from e2llm.methods.decoders.lora import add_lora
from e2llm.methods.decoders.twin import share
from e2llm.methods.fitting.trainable import token_nats
from e2llm.model.operations import decoder_bytes, decoder_flops
from e2llm.reading.prompt import answer_cue, prompt_parts


@dataclass
class Lloco(TrainedReading):
    """Read the document as the summary vectors of its segments.

    Attributes:
        segment_tokens: Tokens of a segment (the authors': 1,536); at most half of the decoder's
            window.
        summary_tokens: Summary vectors of a segment (the authors': 50, which is 30 tokens to a
            vector); none leaves the decoder alone.
        gradient_segments: Last segments that gradients reach in training (2, AutoCompressor's); the
            vectors before them are taken as they are.
        rank, alpha: Of both LoRAs, on all linear layers, as other methods here have it (the
            authors': 8 and 16, on the attention's four).
    """

    segment_tokens: int = 1536
    summary_tokens: int = 50
    gradient_segments: int = 2
    rank: int = 8
    alpha: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("segment_tokens", self.segment_tokens, 1)
        check_count("summary_tokens", self.summary_tokens, 0)
        check_count("gradient_segments", self.gradient_segments, 1)
        check_count("rank", self.rank, 1)

    def build(self) -> "LlocoModel":
        """Put a LoRA that compresses and one that answers on the pair's decoder.

        Both share its weights.
        """
        end = self.pair.processor.tokenizer.eos_token_id
        first_id = 0 if end is None else end
        decoder = self.base_decoder()
        return LlocoModel(decoder, self.summary_tokens, self.rank, self.alpha, first_id)

    def look(self, text: str) -> Tensor:
        """Compress the document, segment by segment, to summary vectors (n_vectors, d_dec)."""
        ids = self.pair.processor.text_ids(text)
        check_window(self._longest(len(ids)), self.pair.config.decoder_window)
        return self._vectors(self._segments(ids))

    def prompt(self, kept: Any, question: str, max_new_tokens: int) -> Prompt:
        """Return the vectors, in the document's place, with the question after them."""
        documents = [(NAME, len(kept))] if len(kept) else []
        parts = prompt_parts(question, documents, cue=answer_cue(self.pair.processor))
        ids = self.pair.processor.prompt_ids(parts)
        check_window(len(ids) + max_new_tokens, self.pair.config.decoder_window)
        return Prompt(ids, kept)

    def positions(self, n_tokens: int) -> int:
        """Return the number of vectors."""
        return self.summary_tokens * -(-n_tokens // self._n_segment)

    def read(self, text: str) -> Reading:
        """Compress the document, once, and count what that takes."""
        flops = self._flops(len(self.pair.processor.text_ids(text)))
        return replace(super().read(text), flops=flops)

    @property
    def text_share(self) -> float:
        """Half of the training (ours).

        AutoCompressor is trained on 15 billion tokens of texts before LLoCO begins.
        """
        return 0.5

    def text_nats(self, text: str) -> Tensor:
        """Return the negative log-likelihood of the end of a text after the vectors of the rest.

        The end is the last segment, or the second half of a short text.
        """
        ids = self.pair.processor.text_ids(text)
        n_read = max(len(ids) - self._n_segment, len(ids) // 2)
        vectors = self._vectors(self._segments(ids[:n_read]))  # (n_vectors, d_dec)
        placeholders = [self.pair.processor.placeholder_id] * len(vectors)
        # The last token that was compressed stands before them, for something must say the first.
        embeddings = self.embed(Prompt(placeholders + ids[n_read - 1 : -1], vectors))
        output = self.decoder(
            inputs_embeds=embeddings[None], use_cache=False, logits_to_keep=len(ids) - n_read
        )
        return token_nats(output.logits[0], ids[n_read:])

    def needs(self, n_tokens: int, max_new_tokens: int) -> list[Needs]:
        """Predict as every method does; the last segment is read after all others' vectors."""
        longest = self._longest(n_tokens)
        check_window(longest, self.window)
        own = Needs(decoder_bytes(self.decoder, longest), self._flops(n_tokens))
        return [*super().needs(n_tokens, max_new_tokens), own]

    @property
    def _n_segment(self) -> int:
        window = self.window
        return self.segment_tokens if window is None else min(self.segment_tokens, window // 2)

    def _segments(self, ids: list[int]) -> list[list[int]]:
        starts = range(0, len(ids), self._n_segment) if self.summary_tokens else []
        return [ids[start : start + self._n_segment] for start in starts]

    def _vectors(self, segments: list[list[int]]) -> Tensor:
        vectors = self.embed(Prompt([]))  # (0, d_dec)
        # From 0 on gradients reach a segment: the last ones.
        for place, segment in enumerate(segments, self.gradient_segments - len(segments)):
            with torch.set_grad_enabled(torch.is_grad_enabled() and place >= 0):
                own = self.model.compress(vectors, segment)  # (n_summary, d_dec)
                vectors = torch.cat([vectors, own])  # (n_vectors, d_dec), own ones included
        return vectors

    def _longest(self, n_tokens: int) -> int:
        """Return the positions of the last whole segment with the vectors around it.

        Those of all others stand before it, its own after it.
        """
        return self.positions(n_tokens) + min(n_tokens, self._n_segment)

    def _flops(self, n_tokens: int) -> int:
        if not self.summary_tokens:
            return 0
        starts = range(0, n_tokens, self._n_segment)
        sizes = [min(self._n_segment, n_tokens - start) for start in starts]
        # A segment is read with the vectors of all before it and its own: `place` counts from 1.
        lengths = [size + self.summary_tokens * place for place, size in enumerate(sizes, 1)]
        return sum(decoder_flops(self.model.compressor, length, n_logits=0) for length in lengths)


class LlocoModel(nn.Module):
    """A decoder with two LoRAs: one that compresses, one that answers.

    Args:
        decoder: The frozen decoder.
        n_summary: Summary vectors of a segment.
        rank, alpha: Of both LoRAs.
        first_id: Token whose embedding all the summary tokens begin with (AutoCompressor's: the end
            of text).
    """

    def __init__(self, decoder: Any, n_summary: int, rank: int, alpha: int, first_id: int) -> None:
        super().__init__()
        first = decoder.get_input_embeddings().weight[first_id].detach()  # (d_dec,)
        self.summary = nn.Parameter(first.repeat(n_summary, 1))  # (n_summary, d_dec)
        self.compressor = add_lora(share(decoder), rank, alpha)
        self.decoder = add_lora(decoder, rank, alpha)

    def compress(self, vectors: Tensor, segment: list[int]) -> Tensor:
        """Return the summary vectors of a segment, read after those of the segments before it.

        Shape:
            vectors (n_vectors, d_dec), segment of seq ids -> (n_summary, d_dec)
        """
        ids = torch.tensor(segment, device=vectors.device)  # (seq,)
        embeddings = self.decoder.get_input_embeddings()(ids)  # (seq, d_dec)
        # (n_vectors + seq + n_summary, d_dec)
        inputs = torch.cat([vectors, embeddings, self.summary.to(embeddings)])
        output = self.compressor.base_model(inputs_embeds=inputs[None], use_cache=False)
        return output.last_hidden_state[0, -len(self.summary) :]  # (n_summary, d_dec)
