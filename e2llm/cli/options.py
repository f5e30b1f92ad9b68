"""Options that several verbs share, and how the command line talks: answers to standard output,
everything else to standard error.
"""

import logging
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from e2llm import environment
from e2llm.errors import E2LLMError, UserError

if TYPE_CHECKING:
    from e2llm.documents.library import Library
    from e2llm.pair import E2LLM

Model = Annotated[
    str,
    typer.Option(
        "--model", "-m", help="A folder, a hub name, or a shipped pair.", envvar=environment.MODEL
    ),
]
Ratio = Annotated[
    str | None,
    typer.Option(
        "--ratio",
        "-r",
        help='Text tokens per soft token, or "chunk" for one per chunk. Default: the pair\'s own, or the next that fits.',
    ),
]
ChunkChars = Annotated[
    int | None,
    typer.Option("--chunk-chars", help="Longest chunk, in characters. Default: the pair's own."),
]
OverlapChars = Annotated[
    int | None,
    typer.Option("--overlap-chars", help="Characters that a chunk repeats of the one before."),
]
Window = Annotated[
    int | None,
    typer.Option("--window", help="Chunks that the encoder reads together (late chunking)."),
]
Encoding = Annotated[
    str | None,
    typer.Option("--encoding", help="Text encoding of the files, where it is not UTF-8."),
]
LibraryFolder = Annotated[
    Path | None,
    typer.Option(
        "--library",
        help="Folder of the library of compressed documents. Default: `library` in $E2LLM_HOME.",
        file_okay=False,
    ),
]
DType = Annotated[
    str | None,
    typer.Option(
        "--dtype", help='"float32", "bfloat16", ... Default: what the machine multiplies fastest.'
    ),
]
Device = Annotated[
    str | None,
    typer.Option("--device", help='"cpu", "cuda", ... Default: the accelerator, if there is one.'),
]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code that a hub model brings along.")
]
Scale = Annotated[
    str,
    typer.Option(
        "--scale", help="quick (about 20 minutes on two cores) or full (the paper's sizes)."
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(
        "--samples",
        help="Most samples of each length that a benchmark sets, or in all, drawn by the seed.",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Folder of local data sets, a folder each with dev.jsonl. Default: the hub.",
        envvar=environment.DATA,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object in place of text.")]

MISSING_CODE = (
    3  # what `evaluate` and `ablate` end with where a method or a benchmark could not be had
)
console = Console(stderr=True, highlight=False, soft_wrap=True)


def say(message: str) -> None:
    """Print one line to standard error."""
    console.print(
        Text(message)
    )  # not the string, in which brackets are mark-up and :smile: is an emoji


def report_missing(missing: dict[str, str]) -> None:
    """Say which methods and benchmarks could not be had, and end with their exit code; do nothing
    where there are none.
    """
    for name, reason in missing.items():
        say(f"e2llm: {name} could not be had: {reason}")
    if missing:
        raise typer.Exit(MISSING_CODE)


def load_model(
    name: str, dtype: str | None, device: str | None, trust_remote_code: bool = False
) -> "E2LLM":
    """Load a pair quietly, with a word on the screen while it takes."""
    with console.status(Text(f"Loading {name} ...")):
        quiet()
        from e2llm.pair import E2LLM

        options: dict[str, Any] = {"trust_remote_code": True} if trust_remote_code else {}
        return E2LLM.from_pretrained(name, dtype=dtype, device=device, **options)


def check_new(output: Path) -> None:
    """Raise `UserError` unless `output` can become a new folder."""
    if output.is_dir() and any(output.iterdir()):
        raise UserError(f"`--output` (={output}) is not empty; name a new folder.")
    if output.exists() and not output.is_dir():
        raise UserError(f"`--output` (={output}) is a file; name a new folder.")


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """Yield a folder to write to, which becomes `output` once the block has ended well: nothing
    half written ever has that name.

    Raises:
        E2LLMError: The disk is full, or the folder may not be written.
    """
    output = output.absolute()
    temporary = output.with_name(f".{output.name}-{uuid.uuid4().hex}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for weights in temporary.glob(
            "*.safetensors"
        ):  # which safetensors makes for its owner alone
            shutil.copymode(temporary / "config.json", weights)
        if (
            output.is_dir()
        ):  # empty; it may be the folder that the user is in, so it must stay the same one
            for item in temporary.iterdir():
                item.rename(output / item.name)
        else:
            temporary.rename(output)
    except Exception as error:
        from safetensors import SafetensorError

        if not isinstance(error, OSError | SafetensorError):
            raise
        raise E2LLMError(
            f"`--output` (={output}) cannot be written ({error}); choose another place."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def open_library(folder: Path | None) -> "Library":
    """Open the library in `folder`, or in the default place."""
    from e2llm.documents.library import Library

    return Library(folder)


def quiet() -> None:
    """Silence the progress bars and advice of the libraries underneath; this package's own warnings
    stay, one line each.
    """
    import warnings

    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(
        logging.ERROR
    )  # PEFT imports it wherever it is installed, and it has advice about kernels
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("e2llm: %(message)s"))
    logger = logging.getLogger("e2llm")
    logger.handlers, logger.propagate = [handler], False
    # What the pair has to say comes with the answer, as a notice.
    warnings.simplefilter("ignore")
