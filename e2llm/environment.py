"""The environment variables that this package reads, in one place.

`E2LLM_HOME`: the folder for the library of compressed documents and for converted decoders.
Default: `e2llm` in the user's data folder (`XDG_DATA_HOME`, else `~/.local/share`). `E2LLM_MODEL`:
the pair that the command line uses where `--model` names none. Default: smol. `E2LLM_DATA`: the
folder of local data sets that benchmarks read and that recipes may name. Default: the hub.
"""

import os
from pathlib import Path

MODEL = "E2LLM_MODEL"
DATA = "E2LLM_DATA"


def home() -> Path:
    """Return the folder that this package keeps its files in; it need not exist yet."""
    if folder := os.environ.get("E2LLM_HOME"):
        return Path(folder).expanduser()
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "e2llm"
