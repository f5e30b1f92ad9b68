"""`e2llm fit`: train a rival that has weights of its own."""

from pathlib import Path
from typing import Annotated

import typer

from e2llm.cli import options
from e2llm.cli.data import open_sources
from e2llm.cli.loading import load_model
from e2llm.cli.terminal import quiet, say

Method = Annotated[
    str,
    typer.Argument(
        metavar="METHOD",
        help="Its name, with hyper-parameters after colons: continual:rope=pi:factor=4.",
    ),
]
Sources = Annotated[
    list[str],
    typer.Option(
        "--source",
        metavar="PATH|NAME",
        help="Training records, as in `e2llm data check`; may be given several times.",
    ),
]
Steps = Annotated[int, typer.Option("--steps", help="Optimizer steps.")]
Output = Annotated[
    Path,
    typer.Option("--output", "-o", help="Folder of checkpoints, log and weights.", file_okay=False),
]
LearningRate = Annotated[
    float,
    typer.Option(
        "--learning-rate", help="Peak of the learning rate, which then falls as a cosine."
    ),
]
BatchSize = Annotated[int, typer.Option("--batch-size", help="Samples per step.")]
Chunks = Annotated[int, typer.Option("--chunks", help="Most chunks of the document of a question.")]
DocumentTokens = Annotated[
    int,
    typer.Option(
        "--document-tokens",
        help="Longest document, in the decoder's tokens; texts are joined to this length.",
    ),
]
Split = Annotated[str, typer.Option("--split", help="Split of folders and data sets.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the first weights and of every draw.")]
SaveEvery = Annotated[
    int, typer.Option("--save-every", help="Steps between checkpoints, each with a validation.")
]
LogEvery = Annotated[int, typer.Option("--log-every", help="Steps between lines.")]
ValidationSamples = Annotated[
    int,
    typer.Option(
        "--validation-samples",
        help="Questions set aside, which decide what weights are kept; 0 for none: the last are.",
    ),
]
GradientCheckpointing = Annotated[
    bool,
    typer.Option(
        "--gradient-checkpointing",
        help="Compute layers again in the backward pass: less memory, a third slower.",
    ),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the interrupted run in the output folder.")
]


def fit(
    method: Method,
    source: Sources,
    steps: Steps,
    output: Output,
    model: options.Model = "smol",
    learning_rate: LearningRate = 4e-4,
    batch_size: BatchSize = 8,
    chunks: Chunks = 16,
    document_tokens: DocumentTokens = 4096,
    split: Split = "train",
    seed: Seed = 0,
    save_every: SaveEvery = 100,
    log_every: LogEvery = 10,
    validation_samples: ValidationSamples = 32,
    gradient_checkpointing: GradientCheckpointing = False,
    resume: Resume = False,
    dtype: options.DType = None,
    device: options.Device = None,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Train a rival on the records that E2LLM is trained on; `e2llm evaluate --methods
    METHOD:weights=FOLDER` then measures it.
    """
    quiet()
    from e2llm.checks import check_choice
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
    # Malformed records are refused before the pair is loaded.
    for own in sources:
        own.check()
    made = make_method(method, load_model(model, dtype, device, trust_remote_code))
    assert isinstance(made, TrainableMethod)
    folder = run(made, sources, settings, output, resume, say)
    if is_main_process():
        say(
            f"Fitted: {folder}. Measure it: e2llm evaluate -m {model} "
            f'--methods "{method}:weights={folder}" -o results'
        )
