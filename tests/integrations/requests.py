"""Requests as the harness makes them, and the shortest documents that its model compresses here."""

from types import SimpleNamespace
from typing import Any

# What the model is told, for documents as short as those of tests.
SHORT = {"tail_chars": 30, "least_chars": 200}


def request(*arguments: Any, record: Any = None) -> SimpleNamespace:
    """Return a request of a task's record."""
    return SimpleNamespace(args=arguments, doc=record)
