"""Whether the documents say what is asked, told before the decoder reads anything.

A question whose answer is not there has words that nothing in the best passages comes near, or
names that stand nowhere. Nearness is late interaction, with the pair's own encoder (Khattab and
Zaharia 2020, "ColBERT"): each of the question's words is compared with each word of a passage.
What weighs how much is fitted for a pair by `bench/found.py`, and kept in its configuration.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch.nn import functional as F

from e2llm.compression.compressor import Compressor
from e2llm.compression.token_states import token_states
from e2llm.documents.compressed import MOST_UNKNOWN, CompressedDocument
from e2llm.documents.words import checksum, split_words
from e2llm.model.digest import digest_weights
from e2llm.reading.plan import Plan
from e2llm.reading.ranking import RankedChunk

# Chunks that are looked at, the best ones: the encoder reads them anew for each question.
N_CHUNKS = 8
REFUSED = (
    "no passage comes near the question; `refuse=False` (`--no-refuse`) has the decoder answer all "
    "the same."
)
# Words that say how something is asked, not what.
_ASKING = frozenset(
    split_words(
        "a about after an and any are as at be been before being between but by can could did do "
        "does during for from had has have he her his how i if in into is it its kind many may "
        "might most much name no not of on or other our s she should some such t than that the "
        "their them then there these they this those to type was we were what when where which "
        "who whom whose why will with would you your"
    )
)
# A question about the whole, which no passage answers: it is never refused.
_WHOLE = re.compile(
    r"\b(summar\w+|overview|gist|tl;?dr|outline)\b|\babout\W*$|^\W*(list|enumerate)\b"
    r"|\b(main|key|central|most important) (points?|ideas?|findings?|topics?|themes?|messages?|"
    r"arguments?|conclusions?|decisions?|results?|takeaways?)\b",
    re.IGNORECASE,
)


class Evidence(NamedTuple):
    """What speaks for an answer in the documents.

    Attributes:
        closeness: Mean cosine, over the question's words, of each one and the nearest word of a
            passage; of the passage that comes nearest.
        names: Share of the names and numbers in the question that stand in the documents.
    """

    closeness: float
    names: float


@dataclass(frozen=True)
class Finder:
    """Tell whether documents say what is asked.

    Attributes:
        compressor: Of the pair.
    """

    compressor: Compressor

    @property
    def weights(self) -> Mapping[str, float] | None:
        """The pair's own, or None where none were fitted for the encoder as it is now."""
        found = self.compressor.model.config.found
        if found is None or found["encoder"] != digest_encoder(self.compressor):
            return None
        return {name: float(found[name]) for name in (*Evidence._fields, "bias")}

    def find(self, question: str, plan: Plan) -> bool | None:
        """Tell whether the answer is in the documents; None where it cannot be told.

        That is: for a pair without weights, without chunks as text, for a question about the
        whole, and for a language that the encoder cannot read.

        Args:
            question: The question.
            plan: What the decoder would read.
        """
        if not plan.expanded or asks_about_whole(question) or (weights := self.weights) is None:
            return None
        # What the encoder cannot read comes near to nothing.
        shares = [document.unknown_share for document in plan.documents]
        shares.append(self.compressor.processor.unknown_share(question))
        if max(shares) > MOST_UNKNOWN:
            return None
        evidence = self.evidence(question, plan.documents, plan.expanded)
        return score(evidence, weights) >= 0

    def evidence(
        self,
        question: str,
        documents: Sequence[CompressedDocument],
        ranked: Sequence[RankedChunk],
    ) -> Evidence:
        """Return what speaks for an answer.

        Args:
            question: The question.
            documents: What it is asked about.
            ranked: Their chunks, the best first.
        """
        names = names_of(question)
        held = sum(any(_holds(document, name) for document in documents) for name in names)
        return Evidence(
            self._closeness(question, documents, ranked), held / len(names) if names else 1.0
        )

    def _closeness(
        self,
        question: str,
        documents: Sequence[CompressedDocument],
        ranked: Sequence[RankedChunk],
    ) -> float:
        model, processor = self.compressor.model, self.compressor.processor
        prompt = model.config.query_prompt
        asked = token_states(model, processor, question, [(0, len(question))], prompt)[0]
        wanted = F.normalize(asked.states[_telling(asked.tokens)], dim=-1)  # (n_wanted, d)
        best = -1.0
        for which, document in enumerate(documents):
            own = [chunk.chunk for chunk in ranked[:N_CHUNKS] if chunk.document == which]
            if not own:
                continue
            spans = [(int(start), int(end)) for start, end in document.spans[own]]
            prompt = processor.document_prompt
            for passage in token_states(model, processor, document.text, spans, prompt):
                if len(passage.states):
                    # (n_wanted, d) @ (d, n_tokens) -> (n_wanted, n_tokens)
                    cosines = wanted @ F.normalize(passage.states, dim=-1).T
                    best = max(best, float(cosines.amax(1).mean()))
        return best


def score(evidence: Evidence, weights: Mapping[str, float]) -> float:
    """Weigh the evidence; from 0 on it is taken that the documents say what is asked."""
    return weights["bias"] + sum(
        weights[name] * value for name, value in evidence._asdict().items()
    )


def digest_encoder(compressor: Compressor) -> str:
    """Digest the encoder's weights: those fitted to it hold for no other."""
    return digest_weights(compressor.model, ("encoder.",))


def asks_about_whole(question: str) -> bool:
    """Tell whether a question is about the whole, or holds no word to look for."""
    words = [word for word in split_words(question) if word not in _ASKING]
    return not words or names_whole(question)


def names_whole(question: str) -> bool:
    """Tell whether a question asks in so many words for a summary, or for what a text is about."""
    return _WHOLE.search(question) is not None


def names_of(question: str) -> list[str]:
    """Return the names and numbers of a question, in lower case; its first word counts as none."""
    words = re.findall(r"\w+", question)[1:]
    named = (word.lower() for word in words if word[0].isupper() or word[0].isdigit())
    return list(dict.fromkeys(name for name in named if name not in _ASKING))


def refusal(documents: Sequence[CompressedDocument]) -> str:
    """Return the sentence that stands for an answer which is not there."""
    return "The document does not say." if len(documents) == 1 else "The documents do not say."


def _telling(tokens: Sequence[str]) -> list[int]:
    """Return the places of the tokens that say what is asked; of all words where none does."""
    words = ["".join(filter(str.isalnum, token)).lower() for token in tokens]
    telling = [place for place, word in enumerate(words) if word and word not in _ASKING]
    return telling or list(range(len(words)))


def _holds(document: CompressedDocument, word: str) -> bool:
    return len(document.words.find(checksum(word))[0]) > 0 or word in split_words(document.name)
