"""Tasks: what a record becomes, token by token."""

import re

import numpy as np
import pytest
import torch

from e2llm.chunking.chunker import make_spans
from e2llm.compression.compressor import Compressor
from e2llm.errors import UserError
from e2llm.model.processing import E2LLMProcessor
from e2llm.training.data.records import QuestionRecord, TextRecord
from e2llm.training.tasks import TASKS, Draw
from e2llm.training.tasks.base import Others, bag_means, stack_targets
from e2llm.training.tasks.reasoning import _NAMES, draw_document, holding
from e2llm.training.tasks.understanding import wordings
from tests.training.writing import prose

TEXT = TextRecord("t", prose(1, 20), "town")
QUESTION = QuestionRecord(
    "q",
    f"{prose(2, 5)} Ann keeps the river. {prose(3, 5)}",
    "Who keeps the river?",
    ("Ann", "It is Ann"),
    "hall",
)


class NoOthers(Others):
    def next(self):
        raise AssertionError("no other record is asked for")

    def about(self):
        return []


class OneOther(Others):
    def next(self):
        return QuestionRecord("o", prose(9, 4), "?", ("!",), "hall")

    def about(self):
        return [
            QuestionRecord("p", QUESTION.context, "What does Ann keep?", ("the river",), "hall")
        ]


@pytest.fixture(scope="module")
def plain(make_pair):
    """A pair whose decoder has no chat template."""
    return make_pair(decoder="plain", trained=True)


def make(task, record, pair, seed=0, others=None, ratio=4, n_chunks=3, **bounds):
    draw = Draw(pair.processor, np.random.default_rng(seed), ratio, n_chunks, **bounds)
    return TASKS[task].make(record, draw, others or NoOthers())


def text_of(pair, ids):
    return pair.processor.tokenizer.decode([i for i in ids if i != pair.processor.placeholder_id])


def n_soft(pair, sample):
    return sample.prompt_ids.count(pair.processor.placeholder_id)


def fed(sample):
    return np.unique(np.concatenate([ids[ids >= 0] for ids in sample.soft_ids])).tolist()


# All tasks


@pytest.mark.parametrize("name", [name for name in TASKS if name != "alignment"])
@pytest.mark.parametrize("decoder", ["llama", "plain"])
def test_every_soft_token_has_one_placeholder_and_is_fed_by_the_encoder(make_pair, name, decoder):
    pair = make_pair(decoder=decoder)
    record = TEXT if TASKS[name].kind == "text" else QUESTION
    for seed in range(10):
        sample = make(name, record, pair, seed, OneOther(), ratio=[1, 4, 8, "chunk"][seed % 4])
        assert fed(sample) == list(range(n_soft(pair, sample)))
        assert pair.processor.placeholder_id not in sample.answer_ids
        assert sample.answer_ids
        later = [token for prompt, answer in sample.turns for token in prompt + answer]
        assert sample.n_positions == len(sample.prompt_ids) + len(sample.answer_ids) + len(later)
        assert pair.processor.placeholder_id not in later
        assert sample.name == f"{record.source}/{record.id}"


@pytest.mark.parametrize("name", [name for name in TASKS if name != "alignment"])
def test_the_same_draw_gives_the_same_sample(pair, name):
    record = TEXT if TASKS[name].kind == "text" else QUESTION
    first, second = (make(name, record, pair, 5, OneOther()) for _ in range(2))
    assert (first.prompt_ids, first.answer_ids) == (second.prompt_ids, second.answer_ids)


@pytest.mark.parametrize("name", [name for name in TASKS if name not in ("alignment", "recall")])
def test_an_answer_that_is_too_long_is_cut_and_has_no_end(pair, name):
    record = (
        TEXT
        if TASKS[name].kind == "text"
        else QuestionRecord("q", QUESTION.context, "What?", (prose(4, 20),), "hall")
    )
    whole, cut = (
        make(name, record, pair, 3, max_answer_tokens=most).answer_ids for most in (4000, 7)
    )
    assert cut == whole[:7]
    assert pair.processor.tokenizer.eos_token_id not in cut


@pytest.mark.parametrize("name", ["understanding", "reasoning", "expanding"])
def test_an_answer_that_is_whole_ends_with_the_end_id(pair, name):
    sample = make(name, TEXT if name == "understanding" else QUESTION, pair, max_answer_tokens=4000)
    assert sample.answer_ids[-1] == pair.processor.tokenizer.eos_token_id
    assert sample.answer_ids.count(pair.processor.tokenizer.eos_token_id) == 1


@pytest.mark.parametrize("name", ["understanding", "reasoning", "continuation"])
@pytest.mark.parametrize("most", [140, 100])
def test_a_document_that_needs_more_than_the_prompt_holds_is_compressed_further(pair, name, most):
    record = (
        TextRecord("t", prose(1, 60), "town")
        if name != "reasoning"
        else QuestionRecord("q", prose(1, 60), "Who?", ("nobody of these",), "hall")
    )
    for seed in range(6):
        sample = make(
            name,
            record,
            pair,
            seed,
            OneOther(),
            ratio=1,
            n_chunks=6 if name == "continuation" else 40,
            max_positions=most,
        )
        shortest = (
            len(sample.prompt_ids) - n_soft(pair, sample) + 6 if name == "continuation" else 0
        )  # the text before is not cut
        assert len(sample.prompt_ids) <= max(most, shortest)


def test_of_a_document_with_more_chunks_than_the_prompt_holds_the_first_are_read(pair):
    record = QuestionRecord("q", prose(1, 400), "Who?", ("nobody of these",), "hall")
    assert len(make_spans(record.context, pair.chunker)) > 120
    sample = make("reasoning", record, pair, n_chunks=2, max_positions=120)
    assert len(sample.prompt_ids) <= 120
    assert fed(sample) == list(range(n_soft(pair, sample)))


# Understanding


def test_the_bank_has_at_least_fifty_wordings_all_different():
    assert len(set(wordings())) == len(wordings()) >= 50
    assert all(wording == wording.strip() != "" for wording in wordings())


def test_what_is_to_be_restated_is_the_text_of_the_window(pair):
    for seed in range(30):
        wanted = 1 + seed % 3
        sample = make("understanding", TEXT, pair, seed, n_chunks=wanted, max_answer_tokens=4000)
        restated = text_of(pair, sample.answer_ids[:-1])
        assert restated in TEXT.text
        spans = make_spans(TEXT.text, pair.chunker)
        windows = {
            n: [
                TEXT.text[spans[i][0] : spans[i + n - 1][1]].strip()
                for i in range(len(spans) - n + 1)
            ]
            for n in (1, 2, 3)
        }
        assert [n for n, own in windows.items() if restated in own] == [wanted]
        assert any(wording in text_of(pair, sample.prompt_ids) for wording in wordings())
        assert restated not in text_of(pair, sample.prompt_ids)


def test_half_of_the_restatements_are_requested_in_the_prompt_that_is_asked_with(trained_pair):
    n_chunks = len(make_spans(QUESTION.context, trained_pair.chunker))
    documents = [trained_pair.compress(QUESTION.context, name, 4) for name in _NAMES]
    asked = {
        tuple(trained_pair.make_prompt(wording, [document], 0, 4).ids)
        for wording in wordings()
        for document in documents
    }
    record = TextRecord("t", QUESTION.context, "town")
    samples = [
        make("understanding", record, trained_pair, seed, n_chunks=n_chunks) for seed in range(40)
    ]
    n_asked = sum(tuple(sample.prompt_ids) in asked for sample in samples)
    assert 10 <= n_asked <= 30
    assert len({tuple(sample.answer_ids) for sample in samples}) == 1


def test_a_blank_window_gives_no_sample(pair):
    assert make("understanding", TextRecord("t", " \n" * 50, "town"), pair) is None


# Reasoning and expanding


@pytest.mark.parametrize("ratio", [1, 4, 16, "chunk"])
@pytest.mark.parametrize("decoder", ["llama", "plain"])
def test_the_prompt_of_reasoning_is_the_one_that_is_asked_with(trained_pair, plain, decoder, ratio):
    pair = plain if decoder == "plain" else trained_pair
    n_chunks = len(make_spans(QUESTION.context, pair.chunker))
    asked = [
        pair.make_prompt(
            QUESTION.question, [pair.compress(QUESTION.context, name, ratio)], 0, 4
        ).ids
        for name in _NAMES
    ]
    found = {
        asked.index(
            make("reasoning", QUESTION, pair, seed, ratio=ratio, n_chunks=n_chunks).prompt_ids
        )
        for seed in range(20)
    }
    assert len(found) > 3


@pytest.mark.parametrize("decoder", ["llama", "plain"])
def test_the_prompt_of_expanding_is_the_one_that_is_asked_with_when_the_same_chunks_are_chosen(
    trained_pair, plain, decoder, monkeypatch
):
    pair = plain if decoder == "plain" else trained_pair
    n_chunks = len(make_spans(QUESTION.context, pair.chunker))
    documents = {name: pair.compress(QUESTION.context, name, 4) for name in _NAMES}
    for seed in range(12):
        sample = make("expanding", QUESTION, pair, seed, n_chunks=n_chunks)
        rng = np.random.default_rng(seed)
        answer = QUESTION.answers[rng.integers(len(QUESTION.answers))]
        draw = Draw(pair.processor, rng, 4, n_chunks)
        chosen = TASKS["expanding"].expanded(
            QUESTION.context, *_spans_and_held(pair, answer), QUESTION.question, draw
        )
        monkeypatch.setattr(
            pair, "rank", lambda question, own, chosen=chosen: [(0, index, 1.0) for index in chosen]
        )
        asked = [
            pair.make_prompt(QUESTION.question, [document], len(chosen), 4).ids
            for document in documents.values()
        ]
        assert sample.prompt_ids in asked


def _spans_and_held(pair, answer):
    spans = make_spans(QUESTION.context, pair.chunker)
    return spans, holding(QUESTION.context, spans, answer)


def test_the_expanded_passages_are_one_to_four_chunks_of_the_document_and_mostly_hold_the_answer(
    pair,
):
    spans, held = _spans_and_held(pair, "Ann")
    numbers, hits = set(), 0
    for seed in range(100):
        chosen = TASKS["expanding"].expanded(
            QUESTION.context,
            spans,
            held,
            QUESTION.question,
            Draw(pair.processor, np.random.default_rng(seed), 4, len(spans)),
        )
        assert len(set(chosen)) == len(chosen)
        assert set(chosen) <= set(range(len(spans)))
        numbers.add(len(chosen))
        hits += held[0] in chosen
    assert numbers == {1, 2, 3, 4}
    assert 60 <= hits < 90


def test_a_short_answer_in_other_words_is_asked_of_the_part_of_a_long_document_that_speaks_of_it(
    pair,
):
    text = f"{prose(4, 30)} Cleo painted the lighthouse green. {prose(5, 30)}"
    record = QuestionRecord(
        "q", text, "Which colour did Cleo give the lighthouse?", ("The one of grass",), "hall"
    )
    for seed in range(8):
        sample = make("reasoning", record, pair, seed, n_chunks=4)
        assert len(sample.rows) <= 5  # a cut moves the chunks
        assert any(
            "lighthouse" in pair.processor.encoder_tokenizer.decode(row.input_ids)
            for row in sample.rows
        )


def test_of_a_document_that_holds_a_long_answer_the_part_that_begins_with_it_is_read(pair):
    answer = prose(7, 12)
    assert len(answer) > 200
    record = QuestionRecord(
        "q", f"{prose(5, 40)} {answer} {prose(6, 40)}", "What then?", (answer,), "hall"
    )
    for seed in range(10):
        draw = Draw(pair.processor, np.random.default_rng(seed), 4, 3)
        text, spans, held = draw_document(record, answer, draw, NoOthers())
        assert len(spans) <= 4
        assert held == [0] or (held == [] and answer.startswith(text[:40]))
        assert text.find(answer[:60]) < len(text) / 2


def test_a_summary_is_asked_of_the_whole_document(pair):
    record = QuestionRecord(
        "q", prose(4, 30), "What is it about?", ("It tells of a town and its budget. " * 8,), "hall"
    )
    assert len(make("reasoning", record, pair, n_chunks=2).rows) == len(
        make_spans(record.context, pair.chunker)
    )


def test_the_answer_is_one_of_the_records_answers(pair, plain):
    answers = {
        text_of(pair, make("reasoning", QUESTION, pair, seed).answer_ids[:-1]) for seed in range(20)
    }
    assert answers == set(QUESTION.answers)
    answers = {
        text_of(plain, make("reasoning", QUESTION, plain, seed).answer_ids[:-1])
        for seed in range(20)
    }
    assert answers == {f" {answer}" for answer in QUESTION.answers}


def test_a_long_context_is_cut_around_the_answer(pair):
    record = QuestionRecord(
        "q", f"{prose(5, 60)} Xavier keeps it. {prose(6, 60)}", "Who keeps it?", ("Xavier",), "hall"
    )
    tokenizer = pair.processor.encoder_tokenizer
    for seed in range(10):
        sample = make("reasoning", record, pair, seed, n_chunks=2)
        assert len(sample.rows) <= 3
        assert "xavier" in " ".join(tokenizer.decode(row.input_ids) for row in sample.rows)


def test_a_short_context_stands_among_others(pair):
    record = QuestionRecord("q", "Ann keeps it.", "Who keeps it?", ("Ann",), "hall")
    sizes = {
        n: [
            len(make("reasoning", record, pair, seed, OneOther(), n_chunks=n).rows)
            for seed in range(20)
        ]
        for n in (1, 5)
    }
    assert set(sizes[1]) == {1}
    assert min(sizes[5]) >= 5


def test_another_context_that_holds_the_answer_is_not_put_beside(pair):
    class Same(OneOther):
        def next(self):
            return QuestionRecord("o", "Ann was there too.", "?", ("!",), "hall")

    record = QuestionRecord("q", "Ann keeps it.", "Who keeps it?", ("Ann",), "hall")
    assert {
        len(make("reasoning", record, pair, seed, Same(), n_chunks=5).rows) for seed in range(10)
    } == {1}


# Dialogue and recall


def test_a_template_that_knows_one_turn_alone_serves_single_questions_and_refuses_a_dialogue(
    make_pair,
):
    pair = make_pair()
    pair.processor.chat_template = "<|start|>{{ messages[0]['content'] }}<|end|>"
    assert make("reasoning", QUESTION, pair, others=OneOther()).answer_ids
    with pytest.raises(UserError, match="each turn of a conversation"):
        make("dialogue", QUESTION, pair, others=OneOther())


@pytest.mark.parametrize("decoder", ["llama", "plain"])
def test_a_dialogue_asks_in_turn_as_a_chat_does(trained_pair, plain, decoder):
    pair = plain if decoder == "plain" else trained_pair
    sample = make("dialogue", QUESTION, pair, others=OneOther(), n_chunks=12)
    ((prompt, answer),) = sample.turns
    question, cue = "Question: What does Ann keep?", "" if decoder == "llama" else "\nAnswer:"
    _, end = pair.processor.turn_ids()
    between = pair.processor.later_turn_ids()
    assert prompt == [*between, *pair.processor.text_ids(question + cue), *end]
    assert sample.answer_ids[-1] == pair.processor.tokenizer.eos_token_id
    assert text_of(pair, answer[:-1]).strip() == "the river"
    assert answer[-1] == pair.processor.tokenizer.eos_token_id


def test_a_dialogue_leaves_out_what_the_document_does_not_answer(pair):
    class Elsewhere(OneOther):
        def about(self):
            return [
                QuestionRecord(answer, record.context, "Who sleeps?", (answer,), "hall")
                for answer in ("Zachary", "Xavier")
            ]

    record = QuestionRecord(
        "q",
        f"{prose(5, 60)} Xavier keeps it. {prose(6, 60)} Zachary sleeps.",
        "Who keeps it?",
        ("Xavier",),
        "hall",
    )
    samples = [make("dialogue", record, pair, seed, Elsewhere(), n_chunks=2) for seed in range(6)]
    assert {text_of(pair, answer[:-1]) for sample in samples for _, answer in sample.turns} == {
        "Xavier"
    }


def test_the_turns_of_a_dialogue_stay_within_the_bound(pair):
    class Many(OneOther):
        def about(self):
            return OneOther().about() * 9

    whole = make("dialogue", QUESTION, pair, others=Many(), max_answer_tokens=4000)
    assert len(whole.turns) == 5
    cut = make(
        "dialogue",
        QUESTION,
        pair,
        others=Many(),
        max_answer_tokens=len(whole.answer_ids) + sum(map(len, whole.turns[0])) + 3,
    )
    assert cut.turns == whole.turns[:1]


@pytest.mark.parametrize("ratio", [1, 4, 16, "chunk"])
def test_what_is_to_be_recalled_stands_in_the_text_and_where_soft_tokens_are_few_in_an_expanded_chunk(
    pair, ratio, monkeypatch
):
    asked = []
    expanded = set()
    assert (
        max(
            len(
                make(
                    "recall", TEXT, pair, seed, ratio=ratio, n_chunks=4, max_positions=900
                ).prompt_ids
            )
            for seed in range(20)
        )
        <= 900
    )
    monkeypatch.setattr(
        "e2llm.training.tasks.recall.ask", lambda *arguments: asked.append(arguments)
    )
    for seed in range(30):
        make("recall", TEXT, pair, seed, ratio=ratio, n_chunks=4)
        _, text, spans, chosen, questions, _, _ = asked.pop()
        expanded.add(bool(chosen))
        shown = "".join(text[start:end] for start, end in (spans[index] for index in chosen))
        for question, key in questions:
            assert text.count(key) >= 1
            assert key not in question
            assert not chosen or key in shown
    assert expanded == ({True} if ratio in (16, "chunk") else {True, False})


# Lookup


def test_what_is_looked_up_stands_in_the_text_beside_the_words_that_are_given(pair, monkeypatch):
    asked, kinds = [], set()
    monkeypatch.setattr(
        "e2llm.training.tasks.lookup.ask", lambda *arguments: asked.append(arguments)
    )
    for seed in range(60):
        make("lookup", TEXT, pair, seed, n_chunks=4)
        if not asked:  # none of the drawn words stands there once
            continue
        _, text, _, _, questions, _, _ = asked.pop()
        line = " ".join(text.split())
        assert 1 <= len(questions) <= 6
        for question, answer in questions:
            cue = re.search("“(.*?)( ____ .*?)?”", question).group(1)
            assert answer in line
            assert text.count(cue) == 1 or cue not in text  # where it spans lines
            if "____" in question:
                kinds.add("gap")
                assert f"{cue} {answer} {re.search('____ (.*)”', question).group(1)}" in line
            elif "entence" in question or "say" in question:
                kinds.add("sentence")
                assert cue in answer
            else:
                kinds.add("after")
                assert f"{cue} {answer}" in line
    assert kinds == {"gap", "sentence", "after"}


def test_a_text_too_short_to_look_anything_up_gives_no_sample(pair):
    assert make("lookup", TextRecord("t", "Ann keeps the river.", "town"), pair) is None


# Continuation


@pytest.mark.parametrize("decoder", ["llama", "plain"])
def test_what_is_to_be_continued_follows_what_is_compressed(trained_pair, plain, decoder):
    pair = plain if decoder == "plain" else trained_pair
    places = set()
    for seed in range(30):
        sample = make(
            "continuation-distillation",
            TEXT,
            pair,
            seed,
            ratio=1,
            n_chunks=4,
            max_answer_tokens=4000,
        )
        untaught = make(
            "continuation", TEXT, pair, seed, ratio=1, n_chunks=4, max_answer_tokens=4000
        )
        assert (untaught.prompt_ids, untaught.answer_ids, untaught.teacher_ids) == (
            sample.prompt_ids,
            sample.answer_ids,
            None,
        )
        after = text_of(pair, sample.answer_ids)
        before = text_of(pair, sample.prompt_ids).removeprefix("<bos>")
        read = text_of(pair, sample.teacher_ids).removeprefix("<bos>")
        assert read.startswith(before)
        assert read + after in TEXT.text
        compressed = "".join(
            pair.processor.encoder_tokenizer.decode(row.input_ids, skip_special_tokens=True)
            for row in sample.rows
        )
        letters = [c for c in read[len(before) :].lower() if c.isalpha()]
        assert [c for c in compressed if c.isalpha()] == letters
        places.add(bool(before))
    assert places == {True, False}


def test_a_text_of_one_chunk_gives_no_continuation(pair):
    assert make("continuation", TextRecord("t", "One chunk.", "town"), pair) is None


# Alignment


def test_every_token_is_aligned_with_the_decoder_tokens_that_overlap_it_in_the_text(pair):
    record = TextRecord("t", "Ann's  budget was approved\nin 1887; the café's, too. " * 3, "town")
    processor: E2LLMProcessor = pair.processor
    for seed in range(5):
        sample = make("alignment", record, pair, seed, ratio=1, n_chunks=3)
        spans = make_spans(record.text, pair.chunker)
        places = [tuple(row.input_ids) for row in sample.rows]
        chunks = [
            record.text[start:end]
            for start, end in spans
            if tuple(processor.encoder_rows(record.text, [(start, end)])[0].input_ids) in places
        ]
        expected = []
        for chunk in chunks:
            decoded = processor.tokenizer(
                chunk, return_offsets_mapping=True, add_special_tokens=False
            )
            encoded = processor.encoder_tokenizer(
                chunk, return_offsets_mapping=True, add_special_tokens=False
            )
            for start, end in encoded["offset_mapping"]:
                pairs = zip(decoded["input_ids"], decoded["offset_mapping"], strict=True)
                expected.append([i for i, (a, b) in pairs if a < end and start < b])
        assert sample.targets == expected
        assert fed(sample) == list(range(len(sample.targets)))


def test_alignment_measures_the_distance_to_the_mean_of_the_embeddings(pair):
    table = torch.arange(12.0).reshape(6, 2)
    targets = stack_targets([[1], [0, 2, 4], [5, 5]])
    assert targets.tolist() == [[1, -1, -1], [0, 2, 4], [5, 5, -1]]
    torch.testing.assert_close(
        bag_means(table, targets), torch.stack([table[1], table[[0, 2, 4]].mean(0), table[5]])
    )


def test_soft_tokens_of_a_sample_are_those_that_a_compressed_document_holds(trained_pair):
    from e2llm.training.collator import Collator
    from e2llm.training.mixture import Batch

    n_chunks = len(make_spans(QUESTION.context, trained_pair.chunker))
    sample = make("reasoning", QUESTION, trained_pair, n_chunks=n_chunks)
    inputs = Collator(trained_pair.processor)([Batch("reasoning", 4, [sample])])
    with torch.no_grad():
        soft, _ = trained_pair.model.compress(
            **{
                name: inputs[name]
                for name in ("chunk_input_ids", "chunk_attention_mask", "chunk_soft_ids")
            }
        )
    assert isinstance(trained_pair.compressor, Compressor)
    torch.testing.assert_close(
        soft[0],
        trained_pair.compress(QUESTION.context, ratio=4).soft_tokens.float(),
        atol=1e-3,
        rtol=1e-2,
    )
