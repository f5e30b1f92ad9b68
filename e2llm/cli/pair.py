"""`e2llm pair`: make an untrained pair from any two checkpoints."""

from pathlib import Path
from typing import Annotated, Any

import typer

from e2llm.cli import options
from e2llm.cli.documents import parse_ratio
from e2llm.cli.folders import check_new, new_folder
from e2llm.cli.terminal import quiet, say, status

Encoder = Annotated[str, typer.Argument(help="Text encoder: a folder or a hub name.")]
Decoder = Annotated[
    str, typer.Argument(help="Decoder-only LLM: a folder, a hub name, or a GGUF file.")
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")]
Adapter = Annotated[
    str, typer.Option("--adapter", help="linear, mlp (paper v1), vpma (EMNLP version) or residual.")
]
Pooling = Annotated[
    str | None,
    typer.Option("--pooling", help="mean, cls, attention or tokens. Default: the adapter's own."),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the adapter's first weights.")]


def pair(
    encoder: Encoder,
    decoder: Decoder,
    output: Output,
    adapter: Adapter = "mlp",
    pooling: Pooling = None,
    chunk_chars: options.ChunkChars = None,
    overlap_chars: options.OverlapChars = None,
    window: options.Window = None,
    ratio: options.Ratio = None,
    seed: Seed = 0,
    dtype: options.DType = None,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Make an untrained pair; the folder holds the adapter and the tokenizers, and the bases by
    name.
    """
    wanted = {
        "chunk_chars": chunk_chars,
        "overlap_chars": overlap_chars,
        "window_chunks": window,
        "ratio": parse_ratio(ratio),
    }
    check_new(output)
    settings: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    if trust_remote_code:
        settings["trust_remote_code"] = True
    with status("Loading ..."):
        quiet()
        from e2llm.pair import E2LLM

        made = E2LLM.pair(
            encoder,
            decoder,
            adapter=adapter,
            pooling=pooling,
            dtype=dtype,
            device="cpu",
            seed=seed,
            **settings,
        )
    with new_folder(output) as folder:
        made.save(folder)
    n_adapter = sum(parameter.numel() for parameter in made.model.adapter.parameters())
    say(
        f"{output}: an untrained pair, adapter {adapter} over {made.config.pooling} with "
        f"{n_adapter:,} parameters."
    )
