"""The records of a task: from which sources, in which order."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from e2llm.errors import UserError
from e2llm.training.data.sources import SourceSettings, open_source
from e2llm.training.weighted_sources import SameSource
from tests.training import writing
from tests.training.mixtures import Counted, all_of


def test_sources_are_drawn_from_by_their_weights(make_mixture, sources):
    counted = [
        replace(Counted(sources[0]), name="light", weight=1.0),
        replace(Counted(sources[0]), name="heavy", weight=3.0),
    ]
    all_of(make_mixture(100, own=counted, tasks={"understanding": {}}, batch_size=1))
    assert abs(len(counted[1].read) - 75) <= 2
    assert abs(len(counted[0].read) - 25) <= 2


def test_every_record_of_a_source_is_read_once_before_any_is_read_again(make_mixture, sources):
    counted = Counted(sources[0])
    n_epochs = 3
    all_of(
        make_mixture(
            n_epochs * len(counted) // 2, own=[counted], tasks={"understanding": {}}, batch_size=2
        )
    )
    assert set(Counter(counted.read).values()) == {n_epochs}


def test_records_are_read_in_epochs_each_in_an_order_of_its_own(make_mixture, sources):
    mixture = make_mixture(own=[sources[0]], tasks={"understanding": {}})
    dealt = [
        mixture.sources["understanding"].record(ordinal)[1]
        for ordinal in range(2 * len(sources[0]))
    ]
    first, second = dealt[: len(sources[0])], dealt[len(sources[0]) :]
    assert sorted(first) == sorted(second) == list(range(len(sources[0])))
    assert first != second


def test_records_that_are_dealt_late_are_those_that_would_have_been_dealt_in_order(
    make_mixture, sources
):
    counted = [replace(Counted(sources[0]), name=str(i), weight=i + 0.5) for i in range(3)]
    late, early = (
        make_mixture(own=counted, tasks={"understanding": {}}).sources["understanding"]
        for _ in range(2)
    )
    late.record(9000)
    for ordinal in (0, 4095, 4096, 8191, 8192, 9000):
        (a, i), (b, j) = early.record(ordinal), late.record(ordinal)
        assert (a.name, i) == (b.name, j), ordinal


def test_other_records_about_the_same_document_leave_out_the_record_itself(tmp_path):
    records = writing.questions(6)
    for record in records[:4]:
        record["context"] = records[0]["context"]
    source = open_source(
        SourceSettings(path=str(writing.write_lines(tmp_path / "hall.jsonl", records)))
    )
    about = SameSource(source, 2, np.random.default_rng(0)).about()
    assert [record.id for record in about] == ["q0", "q1", "q3"]
    assert SameSource(source, 5, np.random.default_rng(0)).about() == []


def test_no_record_is_read_twice_before_all_are_though_batches_differ_in_size(
    make_mixture, sources
):
    counted = Counted(sources[0])
    mixture = make_mixture(
        12, own=[counted], batch_positions=300, ratios=[1, 16], tasks={"understanding": {}}
    )
    counted.read.clear()  # of the samples that tell their length
    all_of(mixture)
    counts = Counter(counted.read)
    assert len(counts) == min(len(counted), len(counted.read))
    assert max(counts.values()) - min(counts.values()) <= 1


def test_a_source_that_a_task_names_must_be_there(make_mixture):
    with pytest.raises(
        UserError,
        match=r"`tasks.reasoning.sources` names 'hal', and the sources are texts, questions",
    ):
        make_mixture(tasks={"reasoning": {"sources": ["hal"]}})


def test_a_task_without_records_of_its_kind_is_refused(make_mixture, sources):
    with pytest.raises(UserError, match="reads question records, and no source has any"):
        make_mixture(own=sources[:1], tasks={"reasoning": {}})
