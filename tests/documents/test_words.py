"""Which words each chunk holds: counted rightly, stored, loaded, and damaged ones refused."""

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2llm.chunking.chunker import Chunker
from e2llm.documents.compressed import CompressedDocument
from e2llm.documents.words import WordIndex, checksum, headings_above, split_words
from e2llm.errors import CorruptDocumentError
from tests.documents.samples import make_document

MANUAL = (
    "# Manual\n\nOf all models.\n\n## Falcon\n\nIt flies.\n\nThe fuse has 3 A.\n\n## Otter\n\n"
    "It swims.\n\n3.2 Maintenance\n\nOil it.\n"
)


@given(st.text(alphabet="ab c\nÜ1-é", max_size=200), st.integers(5, 40))
def test_every_word_of_every_chunk_is_found_as_often_as_it_stands_there(text, size):
    spans = Chunker(size)(text)
    index = WordIndex.build(text, spans)
    for number, (start, end) in enumerate(spans):
        own = Counter(split_words(text[start:end]))
        assert index.lengths[number] == sum(own.values())
        for word, count in own.items():
            chunks, counts = index.find(checksum(word))
            assert dict(zip(chunks.tolist(), counts.tolist(), strict=True))[number] == count
    assert len(index.find(checksum("zebra"))[0]) == 0


def test_a_chunk_counts_with_the_headings_above_it():
    starts = [
        match.start() for match in re.finditer("Of all|It flies|The fuse|It swims|Oil", MANUAL)
    ]
    spans = [(0, starts[0]), *zip(starts, [*starts[1:], len(MANUAL)], strict=True)]
    above = [own.splitlines() for own in headings_above(MANUAL, spans)]
    falcon, otter = ["Manual", "Falcon"], ["Manual", "Otter"]
    assert above == [[], ["Manual"], falcon, falcon, otter, ["Manual", "Maintenance"]]
    index = WordIndex.build(MANUAL, spans)
    assert index.find(checksum("falcon"))[0].tolist() == [1, 2, 3]


def test_a_stored_index_is_the_one_that_is_built(tmp_path):
    document = make_document()
    loaded = CompressedDocument.load(document.save(tmp_path / "a.e2llm"))
    assert "words" in vars(loaded)
    for name, part in vars(document.words).items():
        assert np.array_equal(getattr(loaded.words, name), part)


@pytest.mark.parametrize("change", ["chunks", "starts", "lengths", "counts"])
def test_an_index_that_does_not_fit_its_document_is_damaged(tmp_path, change):
    document = make_document()
    parts = dict(vars(document.words))
    parts[change] = parts[change][:-1] if change != "chunks" else parts[change] + 10_000
    vars(document)["words"] = WordIndex(**parts)
    with pytest.raises(CorruptDocumentError):
        CompressedDocument.load(document.save(tmp_path / "a.e2llm"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("会议室", ["会", "议", "室", "会议", "议室"]),
        ("2024年ABC", ["2024", "年", "abc"]),
        ("ผู้ซื้อ", ["ผู", "ู้", "้ซ", "ซื", "ื้", "้อ"]),
        ("학교에서", ["학교", "교에", "에서"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("القاهِرة كتـــاب", ["القاهرة", "كتاب"]),
        ("ＡＢＣ１２３", ["abc123"]),
        ("Привет, Мир!", ["привет", "мир"]),
        ("cafe\u0301", ["café"]),
    ],
)
def test_every_script_is_split_to_its_words(text, words):
    assert split_words(text) == words
