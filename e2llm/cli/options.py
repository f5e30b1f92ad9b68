"""The options that several verbs share."""

from pathlib import Path
from typing import Annotated

import typer

from e2llm import environment
from e2llm.documents.file_tree import MAX_BYTES

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
        help='Text tokens per soft token, or "chunk" for one per chunk. '
        "Default: the pair's own, or the next that fits.",
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
    list[str] | None,
    typer.Option(
        "--encoding",
        help="Text encoding of the files, where it is not UTF-8; of some of them with a pattern: "
        "'legacy/*.txt=cp1252'. May be given again.",
    ),
]
MAX_SIZE = f"{MAX_BYTES // 10**6}M"
MaxSize = Annotated[
    str,
    typer.Option("--max-size", help="In folders, larger files are passed over: 500K, 50M, 2G."),
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
Budget = Annotated[
    int | None,
    typer.Option(
        "--budget",
        "-b",
        help="Decoder positions of the prompt; what stands in them is planned. "
        "Default: the pair's own.",
    ),
]
Whole = Annotated[
    bool,
    typer.Option(
        "--whole",
        help="The question is about the whole (a summary): all of it is read as soft tokens.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object in place of text.")]
