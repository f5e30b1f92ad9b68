"""Pairs that ship with the package: a folder each, found by its name.

A folder holds a configuration and, once the pair is trained, its adapter and LoRA.
"""

import os
from pathlib import Path

from e2llm.checks import check_choice

FOLDER = Path(__file__).parent
REQUIREMENTS = "requirements.txt"


def shipped_pairs() -> list[str]:
    """Return the names of the pairs in this package."""
    return sorted(folder.parent.name for folder in FOLDER.glob("*/config.json"))


def find_pair(name: str) -> str:
    """Return where a pair lies: an existing folder, a shipped pair's, or the hub's name itself.

    Raises:
        UserError: The name is none of them, and looks like no hub name.
    """
    if os.path.isdir(name):
        return name
    if name in shipped_pairs():
        return str(FOLDER / name)
    if "/" not in name:
        check_choice("model", name, shipped_pairs())
    return name
