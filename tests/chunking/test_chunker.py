"""The chunker: exact spans, nothing lost, any script, linear time."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2llm.chunking.chunker import Chunker, make_spans
from e2llm.errors import UserError

ENGLISH = 'The council met at noon. Everyone spoke! Who paid? "Nobody," said Ann.\n' * 40
ENGLISH += "A second paragraph follows. " * 40
SCRIPTS = {
    "chinese": "会议在中午举行。每个人都发言了！谁付的钱？没有人。" * 60,
    "emoji": "👩‍👩‍👧‍👦👍🏽🇫🇷e\u0301" * 200,
    "combining": ("a" + "\u0301\u0323" * 2) * 300,
    "one word": "x" * 5000,
    "full stops": "." * 5000,
    "arabic": "اجتمع المجلس ظهرا. تكلم الجميع؟ من دفع؟ " * 60,
    "blank lines": "\n" * 3000,
}


@given(st.text(max_size=600), st.integers(1, 40), st.data())
def test_spans_cover_every_character_in_order_within_the_size(text, size, data):
    overlap = data.draw(st.integers(0, (size - 1) // 2))
    spans = Chunker(size, overlap)(text)
    assert spans == make_spans(text, lambda _: spans)
    covered = "".join(
        text[max(start, spans[i - 1][1] if i else 0) : end] for i, (start, end) in enumerate(spans)
    )
    assert covered == text
    assert all(end - start <= size for start, end in spans)
    assert all(
        0 <= previous[1] - following[0] <= overlap for previous, following in pairwise(spans)
    )


@pytest.mark.parametrize("text", [ENGLISH, *SCRIPTS.values()], ids=["english", *SCRIPTS])
def test_chunks_concatenate_back_to_the_text_in_any_script(text):
    spans = Chunker(128)(text)
    assert "".join(text[start:end] for start, end in spans) == text
    assert all(64 <= end - start <= 128 for start, end in spans[:-1])


def test_chunks_end_at_sentence_ends_where_the_second_half_has_one():
    spans = Chunker(128)(ENGLISH)
    assert all(ENGLISH[end - 1] in " \n" and ENGLISH[end - 2] in '.!?"' for _, end in spans[:-1])


def test_a_chunk_without_a_sentence_end_ends_between_words():
    text = "alpha beta gamma " * 100
    assert all(text[end - 1] == " " for _, end in Chunker(100)(text)[:-1])


def test_accents_joined_emoji_and_flags_are_not_torn_apart():
    for text in (SCRIPTS["emoji"], SCRIPTS["combining"]):
        for _, end in Chunker(128)(text)[:-1]:
            assert text[end] not in "\u0301\u0323\u200d🏽"
            assert text[end - 1] != "\u200d"
    flags = "🇫🇷" * 300
    for size in (100, 101):
        assert all(end % 2 == 0 for _, end in Chunker(size)(flags))


def test_the_overlap_begins_at_a_whole_character_too():
    for text in (SCRIPTS["combining"], SCRIPTS["emoji"]):
        spans = Chunker(100, 21)(text)
        assert all(text[start] not in "\u0301\u0323\u200d🏽" for start, _ in spans)


def test_growing_text_keeps_all_chunks_but_the_last():
    spans = Chunker(100)(ENGLISH)
    for cut in (150, 333, 1000, 2222):
        assert Chunker(100)(ENGLISH[:cut])[:-1] == spans[: len(Chunker(100)(ENGLISH[:cut])) - 1]


def test_work_grows_in_proportion_to_the_text():
    """Count the characters that are shown to the regular expressions and to the rules for accents:
    a bounded number per chunk.
    """

    class Counting(str):
        __slots__ = ()

        def __getitem__(self, key):
            counted.append(1)
            return super().__getitem__(key)

    for text in ("x" * 200_000, "a\u0301" * 100_000, "🇫🇷" * 100_000):
        counted = []
        spans = Chunker(512)(Counting(text))
        assert len(spans) <= len(text) // 256 + 1
        assert len(counted) <= 600 * len(spans)


@pytest.mark.parametrize(
    ("size", "overlap", "word"),
    [(0, 0, "size"), (-3, 0, "size"), (10, 5, "overlap"), (10, -1, "overlap")],
)
def test_impossible_sizes_name_the_argument_and_its_value(size, overlap, word):
    with pytest.raises(UserError, match=f"`{word}`.*{size if word == 'size' else overlap}"):
        Chunker(size, overlap)


@pytest.mark.parametrize(
    ("spans", "rule"),
    [
        ([(0, 5)], "leaves out characters 5 to 10"),
        ([(0, 5), (6, 10)], "leaves out characters 5 to 6"),
        ([(0, 0), (0, 10)], "0 <= start < end"),
        ([(0, 11)], "0 <= start < end"),
        ([(3, 10), (0, 3)], "leaves out|no earlier"),
        ([(0, 10), (2, 5)], "end later"),
    ],
)
def test_a_callable_that_loses_text_or_goes_backwards_is_refused(spans, rule):
    with pytest.raises(UserError, match=rule):
        make_spans("abcdefghij", lambda _: spans)


def test_a_callable_may_leave_out_white_space():
    assert make_spans("ab  cd \n", lambda _: [(0, 2), (4, 6)]) == [(0, 2), (4, 6)]


@given(st.lists(st.text(alphabet="ab .\n", min_size=1, max_size=40), max_size=30))
def test_records_stay_whole_where_they_fit_and_chunks_are_the_text(records: list[str]) -> None:
    text = "".join(records)
    starts = [len("".join(records[:place])) for place in range(len(records))]
    spans = Chunker(size=16).cut(text, starts)
    assert "".join(text[start:end] for start, end in spans) == text
    assert all(0 < end - start <= 16 for start, end in spans)
    bounds = {start for start, _ in spans} | {len(text)}
    for start, record in zip(starts, records, strict=True):
        cut = [bound for bound in bounds if start < bound < start + len(record)]
        assert len(record) > 16 or not cut
    # As few chunks as records allow: two neighbours of whole records would not fit one.
    whole = [span for span in spans if span[0] in starts and span[1] in {*starts, len(text)}]
    for before, after in pairwise(whole):
        assert before[1] != after[0] or after[1] - before[0] > 16
