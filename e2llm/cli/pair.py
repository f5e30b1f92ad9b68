"""`e2llm pair`: make an untrained pair from any two checkpoints."""

from pathlib import Path
from typing import Annotated, Any

import typer

from e2llm.cli import options
from e2llm.cli.options import say


def pair(
    encoder: Annotated[str, typer.Argument(help="Text encoder: a folder or a hub name.")],
    decoder: Annotated[
        str, typer.Argument(help="Decoder-only LLM: a folder, a hub name, or a GGUF file.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    adapter: Annotated[
        str, typer.Option("--adapter", help="linear, mlp (paper v1) or vpma (EMNLP version).")
    ] = "mlp",
    pooling: Annotated[
        str | None,
        typer.Option(
            "--pooling", help="mean, cls, attention or tokens. Default: the adapter's own."
        ),
    ] = None,
    chunk_chars: options.ChunkChars = None,
    overlap_chars: options.OverlapChars = None,
    window: options.Window = None,
    ratio: options.Ratio = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the adapter's first weights.")] = 0,
    dtype: options.DType = None,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Make an untrained pair; the folder holds the adapter and the tokenizers, and the bases by
    name.
    """
    from e2llm.cli.documents import parse_ratio

    wanted = {
        "chunk_chars": chunk_chars,
        "overlap_chars": overlap_chars,
        "window_chunks": window,
        "ratio": parse_ratio(ratio),
    }
    options.check_new(output)
    settings: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    if trust_remote_code:
        settings["trust_remote_code"] = True
    with options.console.status("Loading ..."):
        options.quiet()
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
    with options.new_folder(output) as folder:
        made.save(folder)
    n_adapter = sum(parameter.numel() for parameter in made.model.adapter.parameters())
    say(
        f"{output}: an untrained pair, adapter {adapter} over {made.config.pooling} with "
        f"{n_adapter:,} parameters."
    )
