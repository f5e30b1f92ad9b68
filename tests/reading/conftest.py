"""A town of four facts, and the document of it."""

import pytest

FACTS = [
    "The engine room is painted green and holds two turbines from the north. ",
    "A violin maker lives above the bakery and repairs cellos in the winter. ",
    "The vault behind the altar was opened with a brass key in the year 1887. ",
    "Nine goats graze on the roof of the museum, which has a meadow there. ",
]
TEXT = "".join(fact * 2 for fact in FACTS)


@pytest.fixture(scope="session")
def document(pair):
    """The town, compressed by the untrained pair."""
    return pair.compress(TEXT, name="town")
