"""What the tests of `e2llm ask` share."""

from tests.cli.running import Result

Q = ("-q", "Who approved the budget?")


def documents_of(result: Result) -> list[dict]:
    """What a run with --json says of each document."""
    return result.json["documents"]
