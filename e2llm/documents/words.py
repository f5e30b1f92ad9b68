"""Which words each chunk of a document holds, and how often: what ranking by words looks up.

A chunk counts with the headings above it, so that "the fuse of the Falcon" finds the chunk at the
end of the section "Falcon". Words are kept as checksums of 32 bits, which is small and quick; two
words that share one are taken for one, and of a document's vocabulary hardly any do.
"""

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

_DTYPES = (np.uint32, np.int64, np.int32, np.uint8, np.int32)  # of the parts, in order
_WORD = re.compile(r"\w+")
# Markdown's headings, and short numbered lines such as "3.2 Maintenance".
_HEADING = re.compile(
    r"^(?:(#{1,6})[ \t]+|(\d{1,3}(?:\.\d{1,3}){0,5})\.?[ \t]+(?=[A-Z]))([^\n]{1,100})$",
    re.MULTILINE,
)


@dataclass(frozen=True, eq=False)
class WordIndex:
    """The words of a document's chunks, as postings.

    Attributes:
        terms: (n_terms,) uint32, the words' checksums, ascending.
        starts: (n_terms + 1,) int64, where each word's postings begin.
        chunks: (n_postings,) int32, which chunks hold the word.
        counts: (n_postings,) uint8, how often; 255 stands for more.
        lengths: (n_chunks,) int32, words of each chunk.
    """

    terms: np.ndarray
    starts: np.ndarray
    chunks: np.ndarray
    counts: np.ndarray
    lengths: np.ndarray

    @classmethod
    def build(cls, text: str, spans: Sequence[tuple[int, int]] | np.ndarray) -> "WordIndex":
        """Index the chunks of a text; linear in its length."""
        above = headings_above(text, spans)
        known: dict[str, int] = {}
        keys: list[np.ndarray] = []
        lengths = np.zeros(len(spans), np.int32)
        for index, (start, end) in enumerate(spans):
            own = split_words(text[int(start) : int(end)] + "\n" + above[index])
            lengths[index] = len(own)
            numbers = [known.get(word) or known.setdefault(word, checksum(word)) for word in own]
            # Word and chunk in one number, so that one sort makes the postings.
            keys.append(np.array(numbers, np.uint64) << np.uint64(32) | np.uint64(index))
        pairs, counts = np.unique(
            np.concatenate([*keys, np.zeros(0, np.uint64)]), return_counts=True
        )
        of_pairs = (pairs >> np.uint64(32)).astype(np.uint32)  # (n_postings,)
        terms, firsts = np.unique(of_pairs, return_index=True)  # (n_terms,)
        return cls(
            terms=terms,
            starts=np.append(firsts, len(pairs)).astype(np.int64),
            chunks=(pairs & np.uint64(0xFFFFFFFF)).astype(np.int32),
            counts=np.minimum(counts, 255).astype(np.uint8),
            lengths=lengths,
        )

    def find(self, term: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the chunks that hold a word, and how often each does, both (n_chunks_of_it,)."""
        place = int(np.searchsorted(self.terms, term))
        if place == len(self.terms) or self.terms[place] != term:
            return self.chunks[:0], self.counts[:0]
        own = slice(int(self.starts[place]), int(self.starts[place + 1]))
        return self.chunks[own], self.counts[own]

    @property
    def n_bytes(self) -> int:
        """Bytes that it takes."""
        return sum(part.nbytes for part in vars(self).values())

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return its parts as they are stored with the document."""
        # Safetensors' readers do not all know uint32; the same bits as int32 they do.
        parts = {**vars(self), "terms": self.terms.view(np.int32)}
        return {f"words_{name}": torch.from_numpy(part) for name, part in parts.items()}

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, torch.Tensor], n_chunks: int) -> "WordIndex | None":
        """Return what `tensors` made, or None where there is none of it.

        Raises:
            KeyError, ValueError: A part is missing, or the parts do not fit each other.
        """
        if "words_terms" not in tensors:
            return None
        parts = {name: tensors[f"words_{name}"].numpy() for name in cls.__dataclass_fields__}
        index = cls(**{**parts, "terms": parts["terms"].view(np.uint32)})
        n_postings = len(index.chunks)
        fits = (
            [part.dtype for part in vars(index).values()] == list(_DTYPES)
            and all(part.ndim == 1 for part in vars(index).values())
            and len(index.lengths) == n_chunks
            and len(index.starts) == len(index.terms) + 1
            and len(index.counts) == n_postings
            and int(index.starts[0]) == 0
            and int(index.starts[-1]) == n_postings
            and (np.diff(index.starts) > 0).all()
            and (n_postings == 0 or 0 <= index.chunks.min() <= index.chunks.max() < n_chunks)
        )
        if not fits:
            raise ValueError("the parts of the words' index do not fit each other")
        return index


def split_words(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return _WORD.findall(text.lower())


def checksum(word: str) -> int:
    """Return the number that stands for a word, never 0."""
    return zlib.crc32(word.encode("utf-8", "surrogatepass")) or 1


def headings_above(text: str, spans: Sequence[tuple[int, int]] | np.ndarray) -> list[str]:
    """Return for each chunk the headings under which it begins, one a line, the outermost first."""
    found = [
        (match.start(), len(match[1]) if match[1] else match[2].count(".") + 1, match[3].strip())
        for match in _HEADING.finditer(text)
    ]
    above: list[str] = []
    open_: dict[int, str] = {}  # the headings that hold at this place, by level
    place = 0
    for start, _ in spans:
        while place < len(found) and found[place][0] < start:
            _, level, title = found[place]
            open_ = {own: words for own, words in open_.items() if own < level}
            open_[level] = title
            place += 1
        above.append("\n".join(open_.values()))
    return above
