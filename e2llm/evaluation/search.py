"""A search for chunk size, overlap, ratio and chunking, by Optuna.

The loss alone would always choose the lowest ratio, so the search weighs two things: the loss of
answers to held-out questions, each read with its whole document, and soft tokens per text token,
which is what the decoder pays for. The answer is the front of the trials that no other beats in
both. Training always cuts at fixed sizes: how to cut is the reader's choice.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from e2llm.checks import check_count
from e2llm.errors import E2LLMError, MissingPackageError, UserError
from e2llm.evaluation.ablations import run, shortened
from e2llm.evaluation.results import where
from e2llm.evaluation.variations import at_ratio, in_chunks, in_pair
from e2llm.methods import make_method
from e2llm.pair import E2LLM
from e2llm.training import stages
from e2llm.training.data.records import QuestionRecord
from e2llm.training.data.sources import Source
from e2llm.training.recipe import Recipe

TRIALS_FILE, STUDY_FILE, PICTURE_FILE = "trials.jsonl", "study.log", "search.png"
# What is chosen from: the ratios of elastic k, and overlaps as parts of a chunk, so that none is
# longer than its chunk.
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
    """Let Optuna choose chunk size, overlap, ratio and chunking; return the front, cheapest first.

    The study, a line of JSON per trial and a picture of all are kept in `output`, and an
    interrupted search goes on with the trials that are left.

    Raises:
        MissingPackageError: Optuna is not installed.
        UserError: `output` holds a search over another recipe, or the recipe has no questions to
            validate on.
    """
    try:
        import optuna
    except ImportError as error:
        raise MissingPackageError(
            "the search needs the package optuna: pip install 'e2llm[eval]'."
        ) from error
    check_count("trials", n_trials, 1)
    questions = [source for source in stages.open_sources(recipe)[1] if source.kind == "question"]
    if not questions:
        raise UserError(
            "`recipe` validates on texts alone, and the trials are compared on questions; "
            "add a source of questions."
        )
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    output.mkdir(parents=True, exist_ok=True)
    tried = Trials(recipe, output, steps, seed, say, questions)
    study = _open_study(output, shortened(recipe, steps), seed)

    def complete() -> list[Any]:
        return study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))

    # Trials that failed do not count, and are made up for.
    n_left = max(0, n_trials - len(complete()))
    study.optimize(tried.measure, n_trials=n_left, callbacks=[tried.keep], catch=(E2LLMError,))
    front = sorted(map(_facts, study.best_trials), key=lambda facts: facts["soft_tokens_per_token"])
    # Where every trial failed there is nothing to draw.
    if front:
        _draw([_facts(trial) for trial in complete()], front, output, say)
    return front


@dataclass(frozen=True)
class Trials:
    """Measure one choice after the other, as Optuna calls for it, and keep a line of each.

    Attributes:
        recipe, output, steps, seed, say: As in `search`.
        questions: Sources of held-out questions.
    """

    recipe: Recipe
    output: Path
    steps: int | None
    seed: int
    say: Callable[[str], None]
    questions: Sequence[Source]

    def measure(self, trial: Any) -> tuple[float, float]:
        """Train with what Optuna chooses; return nats per token of the answers, and cost."""
        # On a logarithmic scale: from 128 to 256 is as far as from 1,024 to 2,048.
        chars = trial.suggest_int("chunk_chars", *SEARCHED_CHARS, log=True)
        chunking = trial.suggest_categorical("chunking", SEARCHED_CHUNKINGS)
        overlap = (
            int(chars * trial.suggest_categorical("overlap", SEARCHED_OVERLAPS))
            if chunking == "fixed"
            else 0
        )
        ratio = trial.suggest_categorical("ratio", SEARCHED_RATIOS)
        # The recipe trains with fixed chunks of this size, whatever the reader does.
        own = in_pair("overlap_chars")(at_ratio(in_chunks(self.recipe, chars), ratio), overlap)
        self.say(
            f"trial {trial.number}: {chunking} chunks of {chars} characters, overlap "
            f"{overlap}, ratio {ratio}"
        )
        folder = self.output / f"trial-{trial.number}"
        path = run(shortened(own, self.steps), folder, self.say)
        pair = E2LLM.from_pretrained(path, dtype=self.recipe.dtype)
        records = held_out(self.questions, pair, self.recipe.validation_samples, self.seed)
        return read_held_out(pair, f"e2llm:ratio={ratio}:expand=0:chunking={chunking}", records)

    def keep(self, study: Any, trial: Any) -> None:
        """Append a trial that ended to the file of trials."""
        run_facts = {"recipe": self.recipe.output, "steps": self.steps, "seed": self.seed}
        with open(self.output / TRIALS_FILE, "a", encoding="utf-8") as file:
            print(json.dumps(_facts(trial) | run_facts | where()), file=file)


def _open_study(output: Path, base: Recipe, seed: int) -> Any:
    """Begin Optuna's study in a folder, or go on with the one that it holds.

    Raises:
        UserError: That one is over another recipe.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    # A journal is one file that is appended to: an interrupted search loses one trial.
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(output / STUDY_FILE)))
    study = optuna.create_study(
        storage=storage,
        study_name="chunking",
        sampler=optuna.samplers.TPESampler(seed=seed),
        directions=["minimize", "minimize"],
        load_if_exists=True,
    )
    # Trials over another recipe would be compared with these.
    if changed := base.difference(study.user_attrs.get("recipe", base.as_dict())):
        raise UserError(
            f"`output` (={output}) holds a search over another recipe "
            f"({'; '.join(changed[:5])}); name another folder."
        )
    study.set_user_attr("recipe", base.as_dict())
    return study


def _draw(
    trials: Sequence[dict[str, Any]],
    front: Sequence[dict[str, Any]],
    output: Path,
    say: Callable[[str], None],
) -> None:
    try:
        from e2llm.evaluation.figures.base import save
        from e2llm.evaluation.figures.search import search_front
    except MissingPackageError as error:
        say(f"No picture: {error}")
        return
    save(search_front(trials, front), output / PICTURE_FILE, "png")
    say(f"Picture: {output / PICTURE_FILE}")


def held_out(
    sources: Sequence[Source], pair: E2LLM, n_records: int, seed: int
) -> list[QuestionRecord]:
    """Return questions, of all sources by turns, whose documents fit at every ratio.

    At most `n_records`; what they must fit is the decoder's window.
    """
    window = pair.config.decoder_window
    most = (
        HELD_OUT_CHARS
        if window is None
        else min(HELD_OUT_CHARS, HELD_OUT_CHARS_PER_POSITION * window)
    )
    # Four times as many as are wanted, since some will be too long.
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
    """Read every question's whole document by a method of E2LLM, soft tokens alone.

    Returns the nats per token of the answers, and soft tokens per text token.

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


def _facts(trial: Any) -> dict[str, Any]:
    """Return what a trial chose and found, None where it failed."""
    loss, cost = trial.values or (None, None)
    chars, overlap = trial.params.get("chunk_chars"), trial.params.get("overlap", 0.0)
    settings = {"chunk_chars": chars, "overlap_chars": chars and int(chars * overlap)}
    settings |= {name: trial.params.get(name) for name in ("chunking", "ratio")}
    return {"trial": trial.number, **settings, "validation": loss, "soft_tokens_per_token": cost}
