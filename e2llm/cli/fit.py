"""`e2llm fit`: train a rival that has weights of its own."""

from pathlib import Path
from typing import Annotated

import typer

from e2llm.cli import options
from e2llm.cli.options import say


def fit(
    method: Annotated[
        str,
        typer.Argument(
            metavar="METHOD",
            help="Its name, with hyper-parameters after colons: continual:rope=pi:factor=4.",
        ),
    ],
    source: Annotated[
        list[str],
        typer.Option(
            "--source",
            metavar="PATH|NAME",
            help="Training records, as in `e2llm data check`; may be given several times.",
        ),
    ],
    steps: Annotated[int, typer.Option("--steps", help="Optimizer steps.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Folder of checkpoints, log and weights.", file_okay=False
        ),
    ],
    model: options.Model = "smol",
    learning_rate: Annotated[
        float,
        typer.Option(
            "--learning-rate", help="Peak of the learning rate, which then falls as a cosine."
        ),
    ] = 4e-4,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Samples per step.")] = 8,
    chunks: Annotated[
        int, typer.Option("--chunks", help="Most chunks of the document of a question.")
    ] = 16,
    document_tokens: Annotated[
        int,
        typer.Option(
            "--document-tokens",
            help="Longest document, in the decoder's tokens; texts are joined to this length.",
        ),
    ] = 4096,
    split: Annotated[
        str, typer.Option("--split", help="Split of folders and data sets.")
    ] = "train",
    seed: Annotated[
        int, typer.Option("--seed", help="Seed of the first weights and of every draw.")
    ] = 0,
    save_every: Annotated[
        int, typer.Option("--save-every", help="Steps between checkpoints, each with a validation.")
    ] = 100,
    log_every: Annotated[int, typer.Option("--log-every", help="Steps between lines.")] = 10,
    validation_samples: Annotated[
        int,
        typer.Option(
            "--validation-samples",
            help="Questions set aside, which decide what weights are kept; 0 for none: the last "
            "are.",
        ),
    ] = 32,
    gradient_checkpointing: Annotated[
        bool,
        typer.Option(
            "--gradient-checkpointing",
            help="Compute layers again in the backward pass: less memory, a third slower.",
        ),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the interrupted run in the output folder.")
    ] = False,
    dtype: options.DType = None,
    device: options.Device = None,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Train a rival on the records that E2LLM is trained on; `e2llm evaluate --methods
    METHOD:weights=FOLDER` then measures it.
    """
    options.quiet()
    from e2llm.checks import check_choice
    from e2llm.cli.data import open_sources
    from e2llm.methods import make_method, trainable_names
    from e2llm.methods.fitting.run import fit as run
    from e2llm.methods.fitting.settings import FitSettings
    from e2llm.methods.fitting.trainable import TrainableMethod
    from e2llm.training.processes import is_main_process

    check_choice("METHOD", method.partition(":")[0], trainable_names(), "e2llm.methods.METHODS")
    settings = FitSettings(
        steps=steps,
        learning_rate=learning_rate,
        batch_size=batch_size,
        chunks=chunks,
        document_tokens=document_tokens,
        seed=seed,
        save_every=save_every,
        log_every=log_every,
        validation_samples=validation_samples,
        gradient_checkpointing=gradient_checkpointing,
    )
    sources = open_sources(source, split, None)
    for own in sources:
        own.check()
    made = make_method(method, options.load_model(model, dtype, device, trust_remote_code))
    assert isinstance(made, TrainableMethod)
    folder = run(made, sources, settings, output, resume, say)
    if is_main_process():
        say(
            f'Fitted: {folder}. Measure it: e2llm evaluate -m {model} --methods "{method}:weights={folder}" -o results'
        )
