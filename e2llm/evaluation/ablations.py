"""Ablations: from a base recipe vary one thing, train every variant alike, and measure it as any
pair is (the paper's ablations).

What is varied is data: a name in `ABLATIONS` with the values to try and a function (recipe, value)
-> recipe. A variant's folder `NAME=VALUE` holds its training run and its results, JSON Lines as
`evaluate` writes them, so that `e2llm report OUTPUT/*/results` sets the variants side by side.

`search` lets Optuna choose chunk size, overlap, ratio, and whether chunks end where sentences part
in meaning. The loss alone would always choose the lowest ratio, so it weighs two things: the loss
of answers to held-out questions, each read with its whole document, and soft tokens per text token,
which is what the decoder pays for. The answer is the front of the trials that no other beats in
both. Training always cuts at fixed sizes: how to cut is the reader's choice.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from e2llm.benchmarks.data import Data
from e2llm.checks import check_choice, check_count
from e2llm.errors import E2LLMError, MissingPackageError, UserError
from e2llm.evaluation import runner
from e2llm.evaluation.results import read_results, where
from e2llm.evaluation.tables import main_score, score_of
from e2llm.methods import make_method
from e2llm.model import E2LLMConfig
from e2llm.pair import E2LLM
from e2llm.pairs import find_pair
from e2llm.training import stages
from e2llm.training.data.records import QuestionRecord
from e2llm.training.data.sources import Source
from e2llm.training.log import LOG_FILE, read_log
from e2llm.training.output import PAIR_FOLDER, RECIPE_FILE, stage_folder
from e2llm.training.recipe import PARTS, Recipe, Stage
from e2llm.training.stages import train

Change = Callable[[Recipe, Any], Recipe]
# Of every figure and table of the ablations: what comes beside the pair under test. Without them
# there is no retention.
BESIDE = ("no-document", "full-text")
TRIALS_FILE = "trials.jsonl"
PICTURE_FILE = "search.png"


@dataclass(frozen=True)
class Ablation:
    """What is varied.

    Attributes:
        values: Tried unless others are asked for; none where only the user can name them.
        change: Makes a variant's recipe of the base recipe; None where nothing is to be trained.
        method: How the variant is read, as `evaluate` names methods; "{value}" stands for the
            value.
    """

    values: tuple[Any, ...]
    change: Change | None
    method: str = "e2llm:expand=0"


@dataclass(frozen=True)
class Variant:
    """What became of one value.

    Attributes:
        value: The value.
        folder: Holds `run` (where one was trained) and `results`.
        validation: The least validation loss of the last stage; None where nothing was trained.
        scores: Benchmark -> the score that it is known by, of `method`.
        missing: Methods and benchmarks that could not be had, and why.
    """

    value: Any
    folder: Path
    validation: float | None
    scores: dict[str, float]
    missing: dict[str, str]


def in_pair(field: str) -> Change:
    """Return what sets a field of the pair that is trained."""
    return lambda recipe, value: replace(recipe, pair={**recipe.pair, field: value})


def weigh_understanding(recipe: Recipe, weight: float) -> Recipe:
    """Set the weight of the understanding task in every stage that has it."""
    if not any("understanding" in stage.tasks for stage in recipe.stages):
        raise UserError(
            "`recipe` has no stage with the task understanding, whose weight is varied; add "
            "it to `tasks`."
        )

    def change(stage: Stage) -> Stage:
        tasks = {
            name: replace(task, weight=float(weight)) if name == "understanding" else task
            for name, task in stage.tasks.items()
        }
        return replace(stage, tasks=tasks)

    return replace(recipe, stages=tuple(map(change, recipe.stages)))


def train_lora(recipe: Recipe, parts: str) -> Recipe:
    """Train the LoRA of encoder and decoder ("both"), of one of them, or of "none", beside the
    adapter; a stage left with nothing falls away.
    """
    kept = {"both": PARTS, "none": ("adapter",)}.get(parts, ("adapter", parts))
    if not set(kept) <= set(PARTS):
        raise UserError(f"`values` (={parts!r}) must be both, encoder, decoder or none.")
    rates = [
        {part: rate for part, rate in stage.learning_rates.items() if part in kept}
        for stage in recipe.stages
    ]
    return replace(
        recipe,
        stages=tuple(
            replace(stage, learning_rates=own)
            for stage, own in zip(recipe.stages, rates, strict=True)
            if own
        ),
    )


def at_ratio(recipe: Recipe, ratio: float | str) -> Recipe:
    """Train and read at one ratio; a stage of alignment alone keeps its own, which is one soft
    token per text token.
    """
    stages = tuple(
        stage if set(stage.tasks) == {"alignment"} else replace(stage, ratios=(ratio,))
        for stage in recipe.stages
    )
    return in_pair("ratio")(replace(recipe, stages=stages), ratio)


def in_chunks(recipe: Recipe, chunk_chars: int) -> Recipe:
    """Cut chunks of another size, and take as many of them per sample as hold the same text."""
    own = (
        E2LLMConfig.from_pretrained(find_pair(recipe.pair["model"]))
        if "model" in recipe.pair
        else E2LLMConfig
    )
    before = check_count(
        "chunk_chars", recipe.pair.get("chunk_chars", own.chunk_chars), 1, "character"
    )
    factor = before / check_count("values", chunk_chars, 1, "character")

    def scaled(chunks: tuple[int, int]) -> tuple[int, int]:
        return max(1, round(chunks[0] * factor)), max(1, round(chunks[1] * factor))

    def change(stage: Stage) -> Stage:
        tasks = {
            name: replace(task, chunks=task.chunks and scaled(task.chunks))
            for name, task in stage.tasks.items()
        }
        return replace(stage, chunks=scaled(stage.chunks), tasks=tasks)

    return in_pair("chunk_chars")(
        replace(recipe, stages=tuple(map(change, recipe.stages))), chunk_chars
    )


ABLATIONS: dict[str, Ablation] = {
    # The paper's figure has 1e-9 to 1e-7 for sums over windows; with token means the same balance
    # is at 0.1 to 1 (0 is reasoning alone).
    "understanding-weight": Ablation((0, 0.001, 0.01, 0.1, 1, 10), weigh_understanding),
    "lora": Ablation(("both", "encoder", "decoder", "none"), train_lora),
    "adapter": Ablation(("linear", "mlp", "vpma", "residual"), in_pair("adapter")),
    "pooling": Ablation(("mean", "cls", "attention", "tokens"), in_pair("pooling")),
    "ratio": Ablation((2, 4, 8, 16, 32, 64, "chunk"), at_ratio),
    "chunk-chars": Ablation(
        (128, 512, 1024, 2048), in_chunks
    ),  # those of the paper's reconstruction table
    "overlap-chars": Ablation((0, 32, 64, 128), in_pair("overlap_chars")),
    "window": Ablation((1, 2, 4, 8), in_pair("window_chunks")),
    "encoder": Ablation((), in_pair("encoder")),
    "decoder": Ablation((), in_pair("decoder")),
    "expand": Ablation((0, 1, 2, 4, 8, 16), None, "e2llm:expand={value}"),
    "chunking": Ablation(("fixed", "semantic"), None, "e2llm:expand=0:chunking={value}"),
}


def ablate(
    name: str,
    recipe: Recipe,
    output: Path,
    values: Sequence[Any] = (),
    steps: int | None = None,
    methods: Sequence[str] = BESIDE,
    benchmarks: Sequence[str] = ("squad",),
    scale: str = "quick",
    seed: int = 0,
    data: Data | None = None,
    limit_s: float = 600.0,
    say: Callable[[str], None] = print,
    samples: int | None = None,
) -> list[Variant]:
    """Train and measure one variant after the other; what `output` holds already is not done again.

    Args:
        name: In `ABLATIONS`.
        recipe: The base.
        output: Folder with a folder per variant.
        values: In place of the ablation's own.
        steps: Most steps of every stage; None for the recipe's.
        methods: Measured beside the variant, each on its decoder.
        benchmarks, scale, seed, data, limit_s, samples: As in `runner.evaluate`.
        say: Takes one line at a time of what happens.

    Raises:
        UserError: A name is unknown, or the base recipe has nothing that could be varied so.
    """
    ablation = ABLATIONS[check_choice("name", name, list(ABLATIONS))]
    runner.check_names([*methods, ablation.method], benchmarks, scale)
    values = list(values or ablation.values)
    if not values:
        raise UserError(
            f"`values` must name what to try: there is no list of every {name}; give two or "
            "more with commas between."
        )
    # All recipes are made before the first is trained, so that a value that cannot be is told now.
    recipes = [
        None if ablation.change is None else shortened(ablation.change(recipe, value), steps)
        for value in values
    ]
    base = trained_pair(recipe) if ablation.change is None else ""
    variants = []
    for value, own in zip(values, recipes, strict=True):
        folder = output / f"{name}={re.sub(r'[^A-Za-z0-9._-]+', '-', str(value))}"
        say(f"{name}={value}")
        path = base if own is None else run(own, folder / "run", say)
        pair = E2LLM.from_pretrained(path, dtype=recipe.dtype)
        pair.name = f"{name}={value}"
        method = ablation.method.format(value=value)
        specs = list(dict.fromkeys([*methods, method]))
        outcome = runner.evaluate(
            pair, specs, benchmarks, folder / "results", scale, seed, data, limit_s, samples=samples
        )
        validation = None if own is None else least_loss(own, folder / "run")
        variants.append(
            Variant(
                value, folder, validation, scores_of(folder / "results", method), outcome.missing
            )
        )
    return variants


def shortened(recipe: Recipe, steps: int | None) -> Recipe:
    """Return a recipe whose stages have at most so many steps."""
    if steps is None:
        return recipe
    check_count("steps", steps, 1)
    stages = [
        replace(
            stage,
            steps=min(stage.steps, steps),
            evaluate_every=min(stage.evaluate_every, stage.steps, steps),
        )
        for stage in recipe.stages
    ]
    return replace(recipe, stages=tuple(stages))


def run(recipe: Recipe, folder: Path, say: Callable[[str], None]) -> Path:
    """Train in a folder, or go on there; return the pair's folder."""
    return train(
        replace(recipe, output=str(folder)), resume=(folder / RECIPE_FILE).exists(), say=say
    )


def trained_pair(recipe: Recipe) -> str:
    """Return where the base recipe's own pair is.

    Raises:
        UserError: It has not been trained.
    """
    path = Path(recipe.output) / PAIR_FOLDER
    if path.is_dir():
        return str(path)
    if recipe.pair.keys() == {"model"}:
        return str(recipe.pair["model"])
    raise UserError(
        f"`recipe`: `{path}` is not there, and this ablation reads a trained pair; train it "
        "first: e2llm train RECIPE."
    )


def least_loss(recipe: Recipe, folder: Path) -> float:
    """Return the least validation loss of a run's last stage (of reasoning, where it has that
    task).
    """
    log = stage_folder(folder, len(recipe.stages), recipe.stages[-1]) / LOG_FILE
    return min(line["eval_decisive"] for line in read_log(log) if "eval_decisive" in line)


def scores_of(folder: Path, method: str) -> dict[str, float]:
    """Return the score that each benchmark is known by, of one method."""
    scores = {}
    cells = [cell for cell in read_results(folder).cells if cell["method"] == method]
    for benchmark in dict.fromkeys(cell["benchmark"] for cell in cells):
        own = [cell for cell in cells if cell["benchmark"] == benchmark]
        main = main_score(own)
        value = score_of(main, own, 0) if main else None
        if main and value:
            scores[f"{benchmark}: {main}"] = round(value.value, 3)
    return scores


# What `search` chooses from: the ratios of elastic k, and overlaps as parts of a chunk, so that
# none is longer than its chunk.
SEARCHED_CHARS = (128, 2048)
SEARCHED_CHUNKINGS = ("fixed", "semantic")
SEARCHED_OVERLAPS = (0.0, 0.125, 0.25)  # semantic chunks have none
SEARCHED_RATIOS = (2, 4, 8, 16, 32, 64)
# Longest document with its answer that the trials are compared on, in characters and, so that it
# fits at every ratio, per position of the window.
HELD_OUT_CHARS, HELD_OUT_CHARS_PER_POSITION = 48_000, 2


def search(
    recipe: Recipe,
    output: Path,
    n_trials: int,
    steps: int | None = None,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Let Optuna choose chunk size, overlap, ratio and chunking; return the front, the cheapest
    first.

    The study, a line of JSON per trial and a picture of all are kept in `output`, and an
    interrupted search goes on with the trials that are left.

    Raises:
        MissingPackageError: Optuna is not installed.
        UserError: `output` holds a search over another recipe, or the recipe has no questions to
            validate on.
    """
    try:
        import optuna
        from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
        raise MissingPackageError(
            "the search needs the package optuna: pip install 'e2llm[eval]'."
        ) from error
    check_count("trials", n_trials, 1)
    validation = [source for source in stages.open_sources(recipe)[1] if source.kind == "question"]
    if not validation:
        raise UserError(
            "`recipe` validates on texts alone, and the trials are compared on questions; "
            "add a source of questions."
        )
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    output.mkdir(parents=True, exist_ok=True)

    def objective(trial: Any) -> tuple[float, float]:
        chars = trial.suggest_int("chunk_chars", *SEARCHED_CHARS, log=True)
        chunking = trial.suggest_categorical("chunking", SEARCHED_CHUNKINGS)
        overlap = (
            int(chars * trial.suggest_categorical("overlap", SEARCHED_OVERLAPS))
            if chunking == "fixed"
            else 0
        )
        ratio = trial.suggest_categorical("ratio", SEARCHED_RATIOS)
        own = in_pair("overlap_chars")(at_ratio(in_chunks(recipe, chars), ratio), overlap)
        say(
            f"trial {trial.number}: {chunking} chunks of {chars} characters, overlap "
            f"{overlap}, ratio {ratio}"
        )
        path = run(shortened(own, steps), output / f"trial-{trial.number}", say)
        pair = E2LLM.from_pretrained(path, dtype=recipe.dtype)
        return read_held_out(
            pair,
            f"e2llm:ratio={ratio}:expand=0:chunking={chunking}",
            held_out(validation, pair, recipe.validation_samples, seed),
        )

    def keep(study: Any, trial: Any) -> None:
        with open(output / TRIALS_FILE, "a", encoding="utf-8") as file:
            print(
                json.dumps(
                    _trial(trial)
                    | {"recipe": recipe.output, "steps": steps, "seed": seed, **where()}
                ),
                file=file,
            )

    storage = optuna.storages.JournalStorage(JournalFileBackend(str(output / "study.log")))
    sampler = optuna.samplers.TPESampler(seed=seed)
    study = optuna.create_study(
        storage=storage,
        study_name="chunking",
        sampler=sampler,
        directions=["minimize", "minimize"],
        load_if_exists=True,
    )
    base = shortened(recipe, steps)
    if changed := base.difference(study.user_attrs.get("recipe", base.as_dict())):
        raise UserError(
            f"`output` (={output}) holds a search over another recipe "
            f"({'; '.join(changed[:5])}); name another folder."
        )
    study.set_user_attr("recipe", base.as_dict())
    complete = optuna.trial.TrialState.COMPLETE
    n_left = n_trials - len(study.get_trials(deepcopy=False, states=(complete,)))
    study.optimize(objective, n_trials=max(0, n_left), callbacks=[keep], catch=(E2LLMError,))
    front = sorted(
        (_trial(trial) for trial in study.best_trials),
        key=lambda line: line["soft_tokens_per_token"],
    )
    if front:
        _draw(
            [_trial(trial) for trial in study.get_trials(deepcopy=False, states=(complete,))],
            front,
            output,
            say,
        )
    return front


def _draw(
    trials: Sequence[dict[str, Any]],
    front: Sequence[dict[str, Any]],
    output: Path,
    say: Callable[[str], None],
) -> None:
    try:
        from e2llm.evaluation.plots import save, search_front
    except MissingPackageError as error:
        say(f"No picture: {error}")
        return
    save(search_front(trials, front), output / PICTURE_FILE, "png")
    say(f"Picture: {output / PICTURE_FILE}")


def held_out(
    sources: Sequence[Source], pair: E2LLM, n_records: int, seed: int
) -> list[QuestionRecord]:
    """Return at most so many questions, of all sources by turns, whose documents the decoder's
    window holds at every ratio of a search.
    """
    window = pair.config.decoder_window
    most = (
        HELD_OUT_CHARS
        if window is None
        else min(HELD_OUT_CHARS, HELD_OUT_CHARS_PER_POSITION * window)
    )
    orders = [
        [source[int(index)] for index in source.permutation(seed, 0)[: 4 * n_records]]
        for source in sources
    ]
    records = [
        record
        for turn in zip_longest(*orders)
        for record in turn
        if isinstance(record, QuestionRecord)
    ]
    return [record for record in records if len(record.context) + len(record.answers[0]) <= most][
        :n_records
    ]


def read_held_out(pair: E2LLM, spec: str, records: Sequence[QuestionRecord]) -> tuple[float, float]:
    """Read every question's whole document by a method of E2LLM; return the nats per token of the
    answers, and soft tokens per text token.

    Raises:
        E2LLMError: There is no record.
    """
    if not records:
        raise E2LLMError(
            "no document to validate on is short enough for the decoder's window; add "
            "shorter ones to `validation`."
        )
    method = make_method(spec, pair)
    nats, n_soft, n_tokens = [], 0, 0
    for record in records:
        reading = method.read(record.context)
        nats.append(float(method.score(reading, record.question, record.answers[0]).mean()))
        n_soft += reading.kept.n_soft
        n_tokens += len(pair.processor.text_ids(record.context))
    return sum(nats) / len(nats), round(n_soft / n_tokens, 5)


def _trial(trial: Any) -> dict[str, Any]:
    loss, cost = trial.values or (None, None)
    chars, overlap = trial.params.get("chunk_chars"), trial.params.get("overlap", 0.0)
    settings = {"chunk_chars": chars, "overlap_chars": chars and int(chars * overlap)}
    settings |= {name: trial.params.get(name) for name in ("chunking", "ratio")}
    return {"trial": trial.number, **settings, "validation": loss, "soft_tokens_per_token": cost}
