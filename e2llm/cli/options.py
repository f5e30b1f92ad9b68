"""Options that several verbs share, and how the command line talks: answers to standard output, everything else to standard error."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    from e2llm.answering import E2LLM
    from e2llm.documents.library import Library

Model = Annotated[str, typer.Option("--model", "-m", help="A folder, a hub name, or a shipped pair.", envvar="E2LLM_MODEL")]
Ratio = Annotated[
    str | None,
    typer.Option("--ratio", "-r", help='Text tokens per soft token, or "chunk" for one per chunk. Default: the pair\'s own, or the next that fits.'),
]
ChunkChars = Annotated[int | None, typer.Option("--chunk-chars", help="Longest chunk, in characters. Default: the pair's own.")]
OverlapChars = Annotated[int | None, typer.Option("--overlap-chars", help="Characters that a chunk repeats of the one before.")]
Window = Annotated[int | None, typer.Option("--window", help="Chunks that the encoder reads together (late chunking).")]
Encoding = Annotated[str | None, typer.Option("--encoding", help="Text encoding of the files, where it is not UTF-8.")]
LibraryFolder = Annotated[
    Path | None, typer.Option("--library", help="Folder of the library of compressed documents. Default: `library` in $E2LLM_HOME.", file_okay=False)
]
DType = Annotated[str | None, typer.Option("--dtype", help='"float32", "bfloat16", ... Default: what the machine multiplies fastest.')]
Device = Annotated[str | None, typer.Option("--device", help='"cpu", "cuda", ... Default: the accelerator, if there is one.')]
TrustRemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help="Run code that a hub model brings along.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object in place of text.")]

console = Console(stderr=True, highlight=False, soft_wrap=True)


def say(message: str) -> None:
    """Print one line to standard error."""
    console.print(message, markup=False)


def load_model(name: str, dtype: str | None, device: str | None, trust_remote_code: bool = False) -> "E2LLM":
    """Load a pair quietly, with a word on the screen while it takes."""
    with console.status(f"Loading {name} ..."):
        quiet()
        from e2llm.answering import E2LLM

        options: dict[str, Any] = {"trust_remote_code": True} if trust_remote_code else {}
        return E2LLM.from_pretrained(name, dtype=dtype, device=device, **options)


def open_library(folder: Path | None) -> "Library":
    """Open the library in `folder`, or in the default place."""
    from e2llm.documents.library import Library

    return Library(folder)


def quiet() -> None:
    """Silence the progress bars and advice of the libraries underneath; this package's own warnings stay, one line each."""
    import warnings

    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("e2llm: %(message)s"))
    logger = logging.getLogger("e2llm")
    logger.handlers, logger.propagate = [handler], False
    # What the pair has to say comes with the answer, as a notice.
    warnings.simplefilter("ignore")
