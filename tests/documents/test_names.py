"""Files are told apart by the shortest end of their paths, and encodings given by it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2llm.documents.encodings import Encodings
from e2llm.documents.names import tell_apart
from e2llm.errors import UserError

paths = st.lists(st.lists(st.sampled_from("ab"), min_size=1, max_size=4).map("/".join))


@given(paths)
def test_other_paths_have_other_names(given_paths):
    names = dict(zip(given_paths, tell_apart(given_paths), strict=True))
    assert len(set(names.values())) == len(set(given_paths))
    assert all(path.endswith(name) for path, name in names.items())


def test_names_are_no_longer_than_needed():
    assert tell_apart(["/x/a/r.md", "/x/b/r.md", "/x/b/n.md"]) == ["a/r.md", "b/r.md", "n.md"]
    assert tell_apart(["/r.md", "/x/r.md"]) == ["/r.md", "x/r.md"]
    assert tell_apart(["/x/r.md", "/x/r.md"]) == ["r.md", "r.md"]


def test_the_last_pattern_that_matches_decides():
    encodings = Encodings.parse(["*.txt=cp1252", "old/*=gbk", "utf-16"])
    names = ["a.txt", "x/old/a.txt", "old/a", "a.md", "old/x/a.txt"]
    assert [encodings.of(name) for name in names] == ["cp1252", "gbk", "gbk", "utf-16", "gbk"]
    assert Encodings.parse([]).of("a") is None


@pytest.mark.parametrize("given_", [["utf-8", "cp1252"], ["*.txt="], ["nothing"], ["a=b=nothing"]])
def test_a_wrong_encoding_is_refused(given_):
    with pytest.raises(UserError):
        Encodings.parse(given_)
