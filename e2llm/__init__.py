"""Ask questions about documents far longer than a language model's window.

A text encoder compresses them to soft tokens, which a decoder-only LLM reads in place of the text.

The public names are imported when they are first used, so that the command line starts without
torch.

    from e2llm import E2LLM

    model = E2LLM.from_pretrained("smol")
    document = model.compress(text, name="report", ratio=8)
    print(model.ask("Who approved the budget?", documents=[document]).text)
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from e2llm.chunking.chunker import Chunker
    from e2llm.documents.compressed import CompressedDocument
    from e2llm.documents.file_tree import read_folder
    from e2llm.documents.library import Library
    from e2llm.documents.reading import read
    from e2llm.engines import Sampling
    from e2llm.errors import E2LLMError, StaleDocumentError, UserError, WindowError
    from e2llm.pair import E2LLM, Answer

__version__ = "0.1.0"

_HOMES = {
    "E2LLM": "pair",
    "Answer": "pair",
    "Chunker": "chunking.chunker",
    "CompressedDocument": "documents.compressed",
    "Library": "documents.library",
    "Sampling": "engines",
    "read": "documents.reading",
    "read_folder": "documents.file_tree",
    "E2LLMError": "errors",
    "StaleDocumentError": "errors",
    "UserError": "errors",
    "WindowError": "errors",
}

__all__ = [
    "E2LLM",
    "Answer",
    "Chunker",
    "CompressedDocument",
    "E2LLMError",
    "Library",
    "Sampling",
    "StaleDocumentError",
    "UserError",
    "WindowError",
    "read",
    "read_folder",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
