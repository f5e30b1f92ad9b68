"""A changed text: only the chunks that changed are encoded, and the rest is what it was."""

import random
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from e2llm.chunking.chunker import Chunker, make_spans
from e2llm.documents.source import Source
from tests import tiny

DRAW = random.Random(5)
WORDS = sorted(set(tiny.TEXT.split()))
# Sentences of their own, so that no chunk is like another.
TEXT = " ".join(
    " ".join(DRAW.choices(WORDS, k=DRAW.randrange(4, 14))).capitalize() + f" {number}."
    for number in range(250)
)
LINES = "".join(f"2026-11-30 INFO request {number:06} served\n" for number in range(500))

few = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@contextmanager
def encoded(pair):
    """Yield the texts that the encoder reads meanwhile."""
    seen: list[str] = []
    own = pair.processor.encoder_rows
    pair.processor.encoder_rows = lambda text, spans, *rest: (
        seen.extend(text[start:end] for start, end in spans) or own(text, spans, *rest)
    )
    try:
        yield seen
    finally:
        del pair.processor.encoder_rows


@pytest.mark.slow
@few
@given(
    st.integers(0, len(TEXT)),
    st.integers(0, 600),
    st.text("ab .\n", max_size=300),
    st.sampled_from([1, 3, 7.5, 40, "chunk"]),
)
def test_a_changed_text_is_what_it_would_be_afresh_within_one_soft_token(
    pair, place, n_gone, more, ratio
):
    text = TEXT[:place] + more + TEXT[place + n_gone :]
    before = pair.compress(TEXT, ratio=ratio)
    after, fresh = (
        pair.compress(text, ratio=ratio, previous=before),
        pair.compress(text, ratio=ratio),
    )
    assert "".join(chunk.text for chunk in after.chunks) == text
    assert after.key == fresh.key
    torch.testing.assert_close(after.embeddings, fresh.embeddings, atol=1e-5, rtol=1e-4)
    assert abs(after.n_soft - fresh.n_soft) <= 1
    assert np.abs(after.n_soft_per_chunk - fresh.n_soft_per_chunk).max() <= 1
    own, other = (
        document.soft_tokens.split(document.n_soft_per_chunk.tolist())
        for document in (after, fresh)
    )
    for one, two in zip(own, other, strict=True):
        if len(one) == len(two):
            torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)


def test_only_the_chunks_that_changed_are_encoded(pair):
    before = pair.compress(TEXT)
    known = {chunk.text for chunk in before.chunks}
    text = TEXT.replace(" 200.", " 200, they say.").replace(" 240.", "")
    with encoded(pair) as seen:
        after = pair.compress(text, previous=before)
    assert seen == [chunk.text for chunk in after.chunks if chunk.text not in known]
    assert 0 < len(seen) < after.n_chunks / 4


def test_the_estimate_counts_what_is_read_alone(pair):
    seen = []
    pair.compress(TEXT.replace(" 7.", " 8."), previous=pair.compress(TEXT), progress=seen.append)
    assert seen[-1].left_s == 0
    assert 0 < seen[-1].new_chars < len(TEXT) / 10


def test_many_changes_do_not_add_up(pair):
    text, document = TEXT, pair.compress(TEXT, ratio=7.5)
    for number in range(0, 250, 10):
        text = text.replace(f" {number}.", f" {number} and some more.")
        document = pair.compress(text, ratio=7.5, previous=document)
    assert abs(document.n_soft - pair.compress(text, ratio=7.5).n_soft) <= 1


@pytest.mark.parametrize("text", [LINES, "".join(DRAW.choices("的一是在不了有和人这中", k=20_000))])
def test_where_chunks_would_not_meet_again_the_old_borders_stay(pair, text):
    before = pair.compress(text, ratio="chunk")
    with encoded(pair) as seen:
        after = pair.compress(text[:5_000] + "new\n" + text[5_000:], ratio="chunk", previous=before)
    assert len(seen) < 25
    assert max(map(len, seen)) <= pair.chunker.size
    with encoded(pair) as seen:
        same = pair.compress(after.text, ratio="chunk", previous=after)
    assert not seen
    assert same.key == after.key
    with encoded(pair) as seen:
        longer = pair.append(after, "and on\n")
    assert len(seen) < 4
    assert longer.text.endswith("and on\n")


def test_records_stay_whole_behind_a_change(pair):
    rows = [line + "\n" for line in LINES.splitlines()]

    def source(rows):
        starts = np.cumsum([0, *map(len, rows[:-1])]).tolist()
        return Source("table", "".join(rows), record_starts=tuple(starts))

    before = pair.compress(source(rows))
    changed = source([*rows[:50], "one more row\n", *rows[50:]])
    with encoded(pair) as seen:
        after = pair.compress(changed, previous=before)
    assert len(seen) < 25
    assert {chunk.start for chunk in after.chunks} <= set(changed.record_starts)
    # What was cut without its records is cut anew.
    plain = pair.compress(changed.text)
    assert pair.compress(changed, previous=plain).key == pair.compress(changed).key


@pytest.mark.parametrize("window", [1, 3])
def test_another_text_altogether_is_read_as_a_new_one(pair, window):
    before = pair.compress("".join(reversed(TEXT)), window=window)
    after = pair.compress(TEXT, window=window, previous=before)
    assert after.key == pair.compress(TEXT, window=window).key


@given(st.text("ab. \n", max_size=300), st.lists(st.integers(0, 300)), st.integers(1, 40))
def test_chunk_by_chunk_a_text_is_cut_as_at_once(text, starts, size):
    starts = sorted(start for start in starts if start < len(text))
    chunker, bounds = Chunker(size), sorted({0, len(text), *starts})
    spans, end = [], 0
    while end < len(text):
        start, end = end, chunker.next_end(text, end, bounds)
        spans.append((start, end))
    assert spans == make_spans(text, chunker, starts)
