"""Which words each chunk of a document holds, and how often: what ranking by words looks up.

A chunk counts with the headings above it, so that "the fuse of the Falcon" finds the chunk at the
end of the section "Falcon". Words are kept as checksums of 32 bits, which is small and quick; two
words that share one are taken for one, and of a document's vocabulary hardly any do.
"""

import re
import unicodedata
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

_DTYPES = (np.uint32, np.int64, np.int32, np.uint8, np.int32)  # of the parts, in order
# Signs that are written with a letter (Thai and Indic vowels) belong to its word.
_MARKS = "".join(
    chr(code) for code in range(0x300, 0x1B00) if unicodedata.category(chr(code)) in ("Mn", "Mc")
)
_WORD = re.compile(rf"[\w{_MARKS}]+")
# Points and stretching that Arabic and Hebrew are written with or without.
_POINTS = re.compile("[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0640\u064b-\u065f\u0670]")
_IDEOGRAPHS = "\u3005\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# Thai, Lao, Burmese, Khmer, kana, ideographs, and Korean, whose particles cling to its words.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u3040-\u30ff\u31f0-\u31ff"
    rf"\uac00-\ud7af{_IDEOGRAPHS}]+"
)
_IDEOGRAPH = re.compile(f"[{_IDEOGRAPHS}]")
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
    """Return the words of a text in lower case.

    Of scripts without spaces they are pairs of neighbouring characters, as search engines take
    them, and single ideographs, which are words too.

    Example:
        >>> split_words("Room 12, 会议室 ABC")
        ['room', '12', '会', '议', '室', '会议', '议室', 'abc']
    """
    if text.isascii():
        return _WORD.findall(text.lower())
    # Full-width letters and digits become those of a question.
    text = _POINTS.sub("", unicodedata.normalize("NFKC", text).lower())
    words: list[str] = []
    for word in _WORD.findall(text):
        place = 0
        for run in _UNSPACED.finditer(word):
            words += [word[place : run.start()]] if run.start() > place else []
            words += _pairs(run[0])
            place = run.end()
        words += [word[place:]] if place < len(word) else []
    return words


def _pairs(run: str) -> list[str]:
    """Return the words that stand for a run of a script without spaces."""
    if len(run) == 1:
        return [run]
    return _IDEOGRAPH.findall(run) + [run[place : place + 2] for place in range(len(run) - 1)]


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
