"""`e2llm merge`: write a pair with all its weights, or its decoder alone, for other engines."""

from pathlib import Path
from typing import Annotated

import typer

from e2llm.cli import options
from e2llm.cli.folders import check_new, new_folder
from e2llm.cli.loading import load_model
from e2llm.cli.terminal import say


def merge(
    model: Annotated[
        str, typer.Argument(metavar="PAIR", help="A pair's folder, hub name, or shipped name.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    decoder: Annotated[
        bool,
        typer.Option(
            "--decoder",
            help="Write the plain decoder alone, with its LoRA merged, as any engine reads it.",
        ),
    ] = False,
    dtype: options.DType = None,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Write one full checkpoint that needs no base models, LoRA merged; or, with --decoder, the
    plain merged decoder.
    """
    check_new(output)
    pair = load_model(model, dtype, "cpu", trust_remote_code)
    with new_folder(output) as folder:
        if decoder:
            pair.model.decoder.save_pretrained(folder)
            pair.processor.tokenizer.save_pretrained(folder)
        else:
            pair.model.save_pretrained(folder, full=True)
            pair.processor.save_pretrained(folder)
    n_bytes = sum(file.stat().st_size for file in output.rglob("*") if file.is_file())
    say(
        f"{output}: {'the plain decoder' if decoder else 'the full pair'}, "
        f"{n_bytes / 2**20:.0f} MiB."
    )
