"""The ratio that fits the window, before anything is compressed."""

import pytest

from e2llm.errors import WindowError
from e2llm.reading.ratio import fitting_ratio, n_soft_at
from tests.reading.conftest import TEXT


def test_fit_ratio_keeps_the_pairs_own_where_it_fits_and_raises_it_where_not(trained_pair):
    assert trained_pair.fit_ratio([TEXT], "Who?", 8, 0) == trained_pair.config.ratio
    ratio = trained_pair.fit_ratio([TEXT * 8], "Who?", 8, 0)
    assert ratio > trained_pair.config.ratio
    trained_pair.ask(
        "Who?", trained_pair.compress(TEXT * 8, ratio=ratio), expand=0, max_new_tokens=8
    )
    with pytest.raises(WindowError, match=r"`ratio` \(=2\).*use a ratio of"):
        trained_pair.fit_ratio([TEXT * 8], "Who?", 8, 0, ratio=2)
    with pytest.raises(WindowError, match="even one soft token per chunk"):
        trained_pair.fit_ratio([TEXT * 120], "Who?", 8, 0)


@pytest.mark.parametrize(
    ("free", "expected"), [(1000, 4), (150, 8), (20, 64), (10, 128), (9, None)]
)
def test_the_lowest_ratio_that_fits_is_chosen(free, expected):
    assert fitting_ratio([1000], [10], free, least=4) == expected
    assert expected is None or n_soft_at(expected, [1000], [10]) <= free


def test_fit_ratio_counts_the_template_and_the_names(make_pair):
    pair = make_pair(trained=True)
    name = "a name of a file that goes on and on " * 5
    ratio = pair.fit_ratio([TEXT * 6], "Who?", 8, 0, names=[name])
    pair.ask("Who?", pair.compress(TEXT * 6, name=name, ratio=ratio), expand=0, max_new_tokens=8)
