"""The semantic chunker: exact spans in any script, cuts where sentences part, as few others as can
be, and what a real encoder gives it.
"""

import itertools
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from e2llm.chunking import semantic
from e2llm.chunking.chunker import Chunker, make_spans
from e2llm.chunking.semantic import SemanticChunker, cut_sentences
from e2llm.errors import UserError
from e2llm.methods import make_method
from tests.chunking.test_chunker import ENGLISH, SCRIPTS
from tests.tiny import TEXT


def by_hash(text, spans):
    """Embeddings that depend on the sentence alone, and on nothing that it means."""
    return np.array(
        [
            np.random.default_rng(sum(map(ord, text[start:end]))).normal(size=4)
            for start, end in spans
        ]
    ).reshape(-1, 4)


def by_word(*words):
    """Embeddings that tell which of the words a sentence holds."""
    return lambda text, spans: [[word in text[start:end] for word in words] for start, end in spans]


@given(
    st.text(st.sampled_from("ab .!?\n。👍🏽\u0301\u200d") | st.characters(), max_size=400),
    st.integers(1, 60),
    st.integers(0, 100),
)
def test_spans_cover_every_character_once_within_the_size(text, size, percentile):
    for spans in (SemanticChunker(by_hash, size, percentile)(text), cut_sentences(text, size)):
        assert spans == make_spans(text, lambda _, spans=spans: spans)
        assert "".join(text[start:end] for start, end in spans) == text
        assert all(end - start <= size for start, end in spans)


@pytest.mark.parametrize("text", [ENGLISH, *SCRIPTS.values()], ids=["english", *SCRIPTS])
def test_chunks_concatenate_back_to_the_text_in_any_script(text):
    spans = SemanticChunker(by_hash, 128)(text)
    assert "".join(text[start:end] for start, end in spans) == text
    assert all(end - start <= 128 for start, end in spans)
    assert all(text[end] not in "\u0301\u0323\u200d🏽" for _, end in spans[:-1])


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", []),
        (" \n ", [" \n "]),
        ("No end", ["No end"]),
        ("One. Two!\n\n\nThree", ["One. ", "Two!\n\n\n", "Three"]),
        ("\n\nOne. ", ["\n\n", "One. "]),
        ("一。二！三", ["一。", "二！", "三"]),
        ("A very large lot. Short.", ["A very ", "large ", "lot. ", "Short."]),
    ],
)
def test_sentences_are_what_the_chunker_steps_back_to(text, sentences):
    assert [text[start:end] for start, end in cut_sentences(text, 10)] == sentences


def test_a_text_is_cut_where_its_subject_changes():
    parts = [
        "The cat sat. The cat ran. ",
        "A tax rose. The tax fell. That tax is old. ",
        "Bread is baked. The bread is warm.",
    ]
    text = "".join(parts)
    spans = SemanticChunker(by_word("cat", "tax", "read"), 512, 60)(text)
    assert [text[start:end] for start, end in spans] == parts


def test_where_nothing_parts_only_the_size_cuts():
    text = "The cat sat. " * 100
    spans = SemanticChunker(by_word("cat"), 130)(text)
    assert len(spans) == len(Chunker(130)(text)) == 10


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 4)), min_size=1, max_size=9),
    st.integers(5, 12),
    st.integers(0, 100),
)
def test_no_other_cuts_are_worth_more(sentences, size, percentile):
    """Against all the ways to cut; sentences are (length, direction of its embedding)."""
    text = "".join("x" * (length - 1) + "\n" for length, _ in sentences)
    spans = cut_sentences(text, size)
    angles = [sentences[text.count("\n", 0, end) - 1][1] for _, end in spans]
    embeddings = np.array([[np.cos(angle), np.sin(angle)] for angle in angles])
    distances = 1 - (embeddings[:-1] * embeddings[1:]).sum(1)
    threshold = np.percentile(distances, percentile) if len(distances) else 0

    def worth(cuts):
        return sum(distances[cut - 1] - threshold for cut in cuts)

    def fits(cuts):
        return all(
            spans[after - 1][1] - spans[first][0] <= size
            for first, after in pairwise([0, *cuts, len(spans)])
        )

    every = [
        cuts
        for n in range(len(spans))
        for cuts in itertools.combinations(range(1, len(spans)), n)
        if fits(cuts)
    ]
    got = SemanticChunker(lambda text, spans: embeddings, size, percentile)(text)
    ends = [end for _, end in spans]
    own = [ends.index(end) + 1 for _, end in got[:-1]]
    assert worth(own) == pytest.approx(max(map(worth, every)), abs=1e-9)
    assert {
        place + 1 for place, distance in enumerate(distances) if distance > threshold + 1e-9
    } <= set(own)


def test_the_higher_the_percentile_the_fewer_the_chunks():
    counts = [
        len(SemanticChunker(by_hash, 2_000, percentile)(ENGLISH)) for percentile in (0, 50, 80, 100)
    ]
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) == 4


@pytest.mark.slow
def test_a_huge_text_is_embedded_a_block_at_a_time_and_each_sentence_about_once(monkeypatch):
    monkeypatch.setattr(semantic, "BLOCK_SENTENCES", 100)
    text = "".join(f"Sentence {n} of many. " for n in range(20_000))
    asked = []

    def embed(text, spans):
        asked.append(len(spans))
        return by_hash(text, spans)

    spans = SemanticChunker(embed, 512)(text)
    assert max(asked) == 101
    assert sum(asked) <= 20_000 * 1.01 + 1
    monkeypatch.setattr(semantic, "BLOCK_SENTENCES", 10**6)
    assert SemanticChunker(by_hash, 512)(text) == spans


@pytest.mark.slow
@pytest.mark.parametrize("text", ["a\n" * 200_000, "\n" * 400_000, "x" * 400_000, "。" * 400_000])
def test_work_grows_in_proportion_to_the_text(text):
    spans = SemanticChunker(lambda text, spans: np.ones((len(spans), 1)), 512)(text)
    assert spans[-1][1] == len(text)
    assert len(spans) <= len(text) // 256 + 1


def test_the_last_text_is_cut_once():
    calls = []
    chunker = SemanticChunker(lambda text, spans: calls.append(text) or by_hash(text, spans), 60)
    first = chunker(ENGLISH)
    first.clear()
    assert chunker(ENGLISH) == SemanticChunker(by_hash, 60)(ENGLISH)
    assert len(calls) == 1
    chunker(TEXT)
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"size": 0}, "size"),
        ({"percentile": -1}, "percentile"),
        ({"percentile": 101}, "percentile"),
    ],
)
def test_impossible_settings_name_the_argument(settings, word):
    with pytest.raises(UserError, match=f"`{word}`"):
        SemanticChunker(by_hash, **settings)


# With a pair


@pytest.mark.parametrize("encoder", ["bert", "qwen3"])
def test_a_pair_cuts_by_the_sentence_embeddings_of_its_encoder(make_pair, encoder):
    pair = make_pair(encoder=encoder)
    chunker = pair.semantic_chunker(percentile=70)
    assert chunker.size == pair.chunker.size
    spans = cut_sentences(TEXT, chunker.size)
    embeddings = pair.compressor.embed(TEXT, spans)
    alone = [
        pair.compress(TEXT[start:end], chunker=lambda text: [(0, len(text))]).embeddings[0]
        for start, end in spans
    ]
    torch.testing.assert_close(embeddings, torch.stack(alone), atol=1e-5, rtol=1e-4)
    document = pair.compress(TEXT, chunker=chunker)
    assert [tuple(span) for span in document.spans.tolist()] == SemanticChunker(
        lambda *_: embeddings.numpy(), chunker.size, 70
    )(TEXT)
    assert document.chunker is None
    assert pair.append(document, TEXT, chunker=chunker).text == TEXT + TEXT


def test_white_space_and_scripts_that_the_encoder_does_not_know_are_cut_too(pair):
    for text in ("\n" * 300 + "Word. ", *SCRIPTS.values()):
        spans = make_spans(text, pair.semantic_chunker())
        assert "".join(text[start:end] for start, end in spans) == text


def test_the_method_e2llm_reads_semantic_chunks_where_it_is_asked_to(trained_pair):
    method = make_method("e2llm:ratio=4:chunking=semantic:chunk_chars=90", trained_pair)
    kept = method.read(TEXT).kept
    assert [tuple(span) for span in kept.spans.tolist()] == trained_pair.semantic_chunker(90)(TEXT)
    assert method.settings["chunking"] == "semantic"
    with pytest.raises(UserError, match=r"`overlap_chars` .=8. must be left out"):
        make_method("e2llm:chunking=semantic:overlap_chars=8", trained_pair)
    with pytest.raises(UserError, match="did you mean 'semantic'"):
        make_method("e2llm:chunking=semantics", trained_pair)
